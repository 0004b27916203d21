"""The test project for measurements: its environment, its key and its stored objects."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pyrage

from benchmarks import ROOT, TESTPROJECT
from benchmarks.measure import Argv, RunFailed, run

PYTHON = (sys.executable,)
MANAGE = (*PYTHON, str(TESTPROJECT / "manage.py"))
DJANGO_START = (*PYTHON, "-c", "import django; django.setup()")


def base_environment(home: Path) -> dict[str, str]:
    """Return the environment of every command: of the shell's, only PATH."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join((str(TESTPROJECT), str(ROOT))),
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "DJANGO_DEBUG": "0",
        "DJANGO_SECRET_KEY": "a key for benchmarks, of no use elsewhere, fifty characters long",
        "CELERY_BROKER_URL": "memory://",
    }


class Project:
    """The folders, the age key pair and the environment of the project's commands, in an emptied folder.

    ``storage`` is the storage of the commands.
    """

    def __init__(self, folder: Path, *, database_url: str, bin_dir: Path, sites: Path) -> None:
        # The first command on a new checkout would compile hundreds of modules while its time counts.
        compileall.compile_dir(ROOT / "igny8_backup", quiet=1)
        shutil.rmtree(folder, ignore_errors=True)
        self.folder = folder
        self.storage = folder / "storage"
        self.uploads = folder / "uploads"
        self.state = folder / "state"
        for path in (self.storage, self.uploads, self.state):
            path.mkdir(parents=True)
        key = pyrage.x25519.Identity.generate()
        self.identity = folder / "identity.txt"
        self.identity.touch(mode=0o600)
        self.identity.write_text(f"{key}\n")
        self.recipient = str(key.to_public())
        self.environment = {
            **base_environment(folder),
            "PATH": os.pathsep.join((str(bin_dir), os.environ.get("PATH", os.defpath))),
            "DATABASE_URL": database_url,
            "IGNY8_BACKUP_FOLDER": str(self.storage),
            "IGNY8_SITES_DATA": str(sites),
            "IGNY8_UPLOADS": str(self.uploads),
            "IGNY8_BACKUP_STATE_DIR": str(self.state),
            "IGNY8_BACKUP_HOST": "benchmark",
            "IGNY8_BACKUP_RECIPIENTS": str(key.to_public()),
            "IGNY8_BACKUP_CLIENT_BIN_DIR": str(bin_dir),
        }

    def manage(self, *words: str | Path) -> Argv:
        """Return the argument list of a management command."""
        return (*MANAGE, *words, *["--allow-vulnerable-tools"] * (words[0] == "restore_all"))

    def run(self, *words: str | Path) -> str:
        """Run a management command without measuring it."""
        return run(self.manage(*words), env=self.environment, cwd=self.folder)

    def empty_storage(self) -> None:
        """Delete every backup."""
        shutil.rmtree(self.storage)
        self.storage.mkdir()

    def manifest(self) -> dict[str, Any]:
        """Return the newest manifest in storage."""
        found = list(self.storage.rglob("manifest.json"))
        if not found:
            raise RunFailed("There is no manifest in storage.")
        manifest: dict[str, Any] = json.loads(max(found).read_text())  # ids begin with the time
        return manifest

    def packs(self, tree: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the packs that a tree of the newest manifest needs, in the order of its lists."""
        manifest, found = self.manifest(), []
        folder = f"packs/{manifest['host']}/{tree['name']}/"
        for one in tree["pack_lists"]:
            listed = {pack["key"]: pack for pack in json.loads(self.object(one).read_text())["objects"]}
            for run_id, numbers in one["packs"].items():
                for piece in numbers.split(","):
                    first, _, last = piece.partition("-")
                    for number in range(int(first), int(last or first) + 1):
                        found.append(listed[f"{folder}{run_id}-{number:04}{one['suffix']}"])
        return found

    def object(self, stored: dict[str, Any]) -> Path:
        """Return the file of a stored object of the manifest."""
        return self.storage / "igny8" / str(stored["key"])

    def decoded(self, stored: dict[str, Any]) -> list[Argv]:
        """Return a pipeline that decodes the object without code of this package."""
        return [("age", "-d", "-i", self.identity, self.object(stored)), ("zstd", "-dcq")]


def bytes_in(folder: Path) -> int:
    """Return the size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
