"""No plaintext, password or key is stored or printed, and no file is readable by other users."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.management.commands import run_many
from tests.management.conftest import SENTINEL, BackedUp
from tests.management.state import modes, objects
from tests.services.project import Project


def holding(folder: Path, word: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and word.encode() in path.read_bytes()]


def test_stored_objects_contain_no_plaintext(backed_up: BackedUp) -> None:
    project = backed_up.project
    assert project.sql("SELECT count(*) FROM content_tag WHERE name = %s", f"{SENTINEL} row") == [(1,)]
    secrets = [
        SENTINEL,
        project.server.password,
        project.environment["DJANGO_SECRET_KEY"],
        (project.identity.read_text().split("\n")[1])[20:],
    ]
    for secret in secrets:
        assert holding(project.storage, secret) == []
        assert not any(secret in str(path) for path in objects(project))
    for secret in secrets[1:]:
        assert holding(project.state, secret) == []
    # The local index contains names, which the server has anyway, and no contents.
    assert holding(project.state, f"{SENTINEL} content") == []
    assert holding(project.state, f"{SENTINEL} name") != []
    assert modes(project.state) | modes(project.storage / "igny8") == {"file 600", "folder 700"}


def test_readable_objects_say_nothing_about_the_contents(backed_up: BackedUp) -> None:
    project = backed_up.project
    plain = [path for path in objects(project) if path.suffix == ".json"]
    assert len(plain) >= 2
    words = [project.database, "content_tag", "page-", ".jpg", str(project.folder)]
    for path in plain:
        text = path.read_text()
        assert json.loads(text)["schema"] == (2 if path.name == "manifest.json" else 1)
        for word in words:
            assert word not in text, path
    for path in objects(project):
        if path not in plain:
            assert path.name.endswith(".zst.age")
            assert path.read_bytes().startswith(b"age-encryption.org/v1\n-> X25519 ")


@pytest.mark.postgres(18)
def test_new_files_are_private_and_output_contains_no_secret(project: Project) -> None:
    project.seed_small()
    for folder in (project.storage, project.state, project.scratch):
        folder.rmdir()
    before = os.umask(0)
    try:
        results = run_many(
            project,
            ["backup_all", "--verbosity", "3", "--traceback"],
            ["list_backups", "--verbosity", "3"],
            ["restore_all", "--noinput", "--identity", project.identity, "--only", "uploads"],
            ["undo_restore"],
        )
    finally:
        os.umask(before)
    for done in results:
        done.ended(0)
        assert project.server.password not in done.output
        assert "AGE-SECRET-KEY" not in done.output
    for folder in (project.storage, project.state):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert modes(folder) == {"file 600", "folder 700"}
    assert not project.scratch.exists() or project.scratch.stat().st_mode & 0o777 == 0o700
    (previous,) = project.uploads.glob(".before-*")
    assert previous.stat().st_mode & 0o777 == 0o700
