"""Stored objects of another backup or of another release.

tests/management/test_damaged.py covers, end to end: objects that are truncated, altered, extended, empty or
missing; manifests that are not JSON, that belong to another id, or that contradict the stored objects.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.formats import keys
from igny8_backup.formats.manifest import SCHEMA
from tests.bad_input.conftest import Ground
from tests.bad_input.outcome import Case, fail
from tests.management.commands import Command, run_many
from tests.operations.forging import strip_encryption


@pytest.fixture
def two(ground: Ground, tmp_path: Path) -> tuple[Path, str]:
    """A storage with two backups, and the id of the newer one."""
    storage = tmp_path / "two"
    shutil.copytree(ground.project.storage, storage)
    (made,) = run_many(ground.project, Command(["backup_all", "--full", "--json"], storage=storage))
    return storage, made.ended(0).json["manifest"]["id"]


def test_restore_of_swapped_objects_fails(ground: Ground, two: tuple[Path, str], tmp_path: Path) -> None:
    storage, newer = two
    home = f"backups/{newer}"
    swapped = {
        f"{home}/db/default.dump.zst.age": "db",
        f"{home}/details.json.zst.age": "uploads",
        f"{home}/files/uploads.index.zst.age": "uploads",
        f"packs/web-1/uploads/{newer}-0001.tar.zst.age": "uploads",
    }
    cases = []
    for number, (key, only) in enumerate(swapped.items()):
        copy = tmp_path / f"swapped-{number}"
        shutil.copytree(storage, copy)
        (copy / "igny8" / key).write_bytes((storage / "igny8" / key.replace(newer, ground.id)).read_bytes())
        argv = [*ground.restore, newer, "--only", only, *ground.identity]
        way = ("Nothing live was changed.", "Choose another backup: list_backups.")
        cases.append(Case(argv, 6, key, *way, storage=copy))
    fail(ground.project, *cases)


def test_restore_of_manifest_of_later_release_is_refused(ground: Ground, two: tuple[Path, str]) -> None:
    """An unknown schema is refused; unknown fields are ignored."""
    storage, newer = two
    path = storage / f"igny8/backups/{newer}/manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "schema": SCHEMA + 1}))
    hint_for = "Install the release that wrote it, or a later one: pip install --upgrade igny8-backup."
    argv = [["show_backup", newer], [*ground.restore, newer, *ground.identity]]
    fail(
        ground.project,
        *(
            Case(
                words,
                6,
                f"The manifest of backup {newer} has schema {SCHEMA + 1}; this release of igny8_backup"
                f" reads up to {SCHEMA}.",
                hint=hint_for,
                storage=storage,
                shown=words[0] == "restore_all",  # only there something could have been changed
            )
            for words in argv
        ),
    )
    further(manifest)
    listed, planned = run_many(
        ground.project,
        Command(["list_backups"], storage=storage),
        Command(["restore_all", "--dry-run", "--no-migrate", "--json", *ground.identity], storage=storage),
    )
    assert "UNREADABLE" in listed.ended(0).stdout and newer in listed.stdout
    assert planned.ended(0).json["databases"][0]["backup"] == ground.id, "the older one can be read"
    path.write_text(json.dumps(manifest))
    shown, planned = run_many(
        ground.project,
        Command(["show_backup", newer, *ground.identity], storage=storage),
        Command(["restore_all", "--dry-run", "--no-migrate", "--json", *ground.identity], storage=storage),
    )
    assert f"Backup {newer}" in shown.ended(0).stdout
    assert planned.ended(0).json["databases"][0]["backup"] == newer


def further(value: Any) -> None:
    """Add a field to every record."""
    if isinstance(value, list):
        for item in value:
            further(item)
    elif isinstance(value, dict):
        for item in value.values():
            further(item)
        # Versions of software and numbers of packs are no records.
        if value and "igny8_backup" not in value and not any(map(keys.is_id, value)):
            value["of a later release"] = {"whatever": [1, None]}


@pytest.mark.parametrize("kind", ["details", ".dump", ".index", ".folders", "packs/"])
def test_plain_object_in_an_encrypted_backup_is_refused(ground: Ground, tmp_path: Path, kind: str) -> None:
    """For a plain object no key is needed, so anybody who may write to the storage could have forged it."""
    storage = tmp_path / "plain"
    shutil.copytree(ground.project.storage, storage)
    strip_encryption(storage, ground.id, kind, ground.project.identity)
    what = "is not encrypted, although the settings have RECIPIENTS"
    hint = "Choose another backup: list_backups. If it was made before RECIPIENTS was set and you trust its"
    parts = (what, "It was not read, and nothing live was changed.", hint)
    argvs: list[list[str | Path]] = [
        [*ground.restore, ground.id, *ground.identity],
        ["restore_all", ground.id, "--dry-run", *ground.identity],
        ["extract_backup", ground.id, "--to-dir", tmp_path / "to", *ground.identity],
        ["drill_backup", ground.id, *ground.identity],
        ["show_backup", ground.id, *ground.identity],
    ]
    fail(ground.project, *(Case(argv, 6, *parts, storage=storage) for argv in argvs))
    verify = ["verify_backup", ground.id, "--depth", "content", *ground.identity]
    accept = ["restore_all", ground.id, "--dry-run", "--accept-unencrypted", *ground.identity]
    verified, accepted = run_many(
        ground.project, Command(verify, storage=storage), Command(accept, storage=storage)
    )
    assert what in verified.ended(6).output
    accepted.ended(0)
