"""The page "Sign backups": its recipe, executed with the real ssh-keygen."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import open_context
from igny8_backup.operations.keys.keygen import make_signing_key
from tests.docs.pages import blocks, page, section
from tests.services import unavailable

pytestmark = pytest.mark.slow


def test_sign_page_recipe_accepts_a_signed_manifest_and_no_other(settings: Any, tmp_path: Path) -> None:
    if not shutil.which("ssh-keygen"):
        unavailable("ssh-keygen is not installed.")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/page").write_text("a page")
    public = make_signing_key(tmp_path / "key")
    options = {"location": str(tmp_path / "storage")}
    backend = "django.core.files.storage.FileSystemStorage"
    settings.STORAGES = {**settings.STORAGES, "dbbackup": {"BACKEND": backend, "OPTIONS": options}}
    settings.IGNY8_BACKUP = {
        "DATABASES": [],
        "SITES": {"tree": tmp_path / "tree"},
        "STATE_DIR": tmp_path / "state",
        "ENCRYPTION": None,
        "SIGNING": {"KEY_FILE": tmp_path / "key"},
    }
    with open_context() as context:
        made = run_backup(context, BackupRequest(trees=("tree",)))
    folder = tmp_path / "storage/igny8/backups" / made.id
    text = section(page("how-to/sign-backups"), "## Check a signature without this package")
    (recipe,) = blocks(text, "console")
    lines = [line.removeprefix("$ ").replace("ssh-ed25519 AAAA...", public) for line in recipe.splitlines()]
    script = "\n".join(lines)
    good = subprocess.run(["sh", "-ec", script], cwd=folder, capture_output=True, text=True)
    assert good.returncode == 0 and "Good" in good.stdout, good.stderr
    manifest = folder / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    assert subprocess.run(["sh", "-ec", script], cwd=folder, capture_output=True).returncode != 0
