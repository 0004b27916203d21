"""Restores of damaged backups stop before the swap, name the damaged object and leave nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import assert_shown
from tests.management.commands import Command, Done, run_many
from tests.management.conftest import BackedUp
from tests.management.harm import HARM, altered, damaged, missing, truncated


def restores(backed_up: BackedUp, storages: list[Path], only: str, *, by_id: bool = True) -> list[Done]:
    """Restore from each of the storages, in one process; without ``by_id`` the newest good backup."""
    project = backed_up.project
    named = [backed_up.id] if by_id else []
    options = ["--noinput", "--database-name", project.database, "--identity", str(project.identity)]
    return run_many(
        project,
        *(
            Command(["restore_all", *named, *options, "--only", only], storage=storage)
            for storage in storages
        ),
    )


def check(done: Done, harm: Callable[[Path], None], key: str) -> None:
    if harm is missing:
        assert key in done.ended(1).stderr and "is missing in the folder" in done.stderr
        return
    assert key in done.ended(6).stderr, done.output
    assert "Nothing live was changed. Choose another backup: list_backups." in done.stderr


@pytest.mark.parametrize(
    ("pattern", "only"),
    [
        ("backups/*/details.json.zst.age", "uploads"),
        ("backups/*/db/default.dump.zst.age", "db"),
        ("backups/*/files/uploads.index.zst.age", "uploads"),
        ("packs/web-1/uploads/*.tar.zst.age", "uploads"),
    ],
)
def test_restore_of_a_damaged_object_is_refused(
    backed_up: BackedUp, tmp_path: Path, pattern: str, only: str
) -> None:
    storages = [damaged(backed_up.project, tmp_path, pattern, harm) for harm in HARM]
    for harm, done in zip(HARM, restores(backed_up, storages, only), strict=True):
        check(done, harm, pattern.rpartition("/")[2].lstrip("*"))
        if only == "db" and harm is not missing:
            assert_shown(done.stderr)
    for harm, done in zip(HARM, restores(backed_up, storages, only, by_id=False), strict=True):
        if harm is altered:
            continue  # nothing has read the object yet
        assert "can be relied on: backup " in done.ended(6).stderr
        assert f"is {'missing' if harm is missing else 'altered'}" in done.stderr


def test_restore_with_pack_damaged_at_its_end_removes_all_staging(
    backed_up: BackedUp, tmp_path: Path
) -> None:
    storage = damaged(backed_up.project, tmp_path, "packs/web-1/uploads/*.tar.zst.age", altered)
    (done,) = restores(backed_up, [storage], "all")
    check(done, altered, "packs/web-1/uploads/")
    assert "Migrating the restored databases" in done.stderr, "the database was ready by then"


def test_damaged_manifest_is_listed_and_never_restored(backed_up: BackedUp, tmp_path: Path) -> None:
    project = backed_up.project
    newer = backed_up.id.replace("20", "21", 1)
    forged = tmp_path / "forged"
    shutil.copytree(project.storage, forged)
    home = forged / "igny8/backups"
    shutil.copytree(home / backed_up.id, home / newer)
    for storage, harm in ((tmp_path / "cut", truncated), (tmp_path / "swapped", lambda path: None)):
        shutil.copytree(forged, storage)
        harm(storage / f"igny8/backups/{newer}/manifest.json")
    by_id = ["restore_all", newer, "--noinput", "--database-name", project.database]
    listed, as_json, shown, restored, plan = run_many(
        project,
        *(
            Command([*argv], storage=tmp_path / "cut")
            for argv in (
                ["list_backups"],
                ["list_backups", "--json"],
                ["show_backup", newer],
                [*by_id, "--identity", str(project.identity)],
                ["restore_all", "--dry-run", "--json", "--identity", str(project.identity)],
            )
        ),
    )
    assert "UNREADABLE" in listed.ended(0).stdout and backed_up.id in listed.stdout
    unreadable, good = as_json.ended(0).json
    assert (unreadable["id"], unreadable["manifest"]) == (newer, None) and "not JSON" in unreadable["problem"]
    assert (good["id"], good["problem"]) == (backed_up.id, "")
    assert "is not JSON" in shown.ended(6).stderr
    assert "is not JSON" in restored.ended(6).stderr
    assert plan.ended(0).json["databases"][0]["backup"] == backed_up.id, "an older one is taken"
    (moved,) = run_many(project, Command(["show_backup", newer], storage=tmp_path / "swapped"))
    assert f"is that of another backup, '{backed_up.id}'" in moved.ended(6).stderr


def test_restore_with_forged_manifest_is_refused(backed_up: BackedUp, tmp_path: Path) -> None:
    lies: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "sha256": lambda item: {**item, "sha256": "0" * 64},
        "size": lambda item: {**item, "stored_bytes": item["stored_bytes"] + 1},
        "codec": lambda item: {**item, "codecs": ["rot13"]},
        "plain": lambda item: {**item, "codecs": ["zstd"]},
        "key": lambda item: {**item, "key": "../../../etc/passwd"},
    }
    storages = []
    for name, lie in lies.items():
        storage = tmp_path / name
        shutil.copytree(backed_up.project.storage, storage)
        path = storage / f"igny8/backups/{backed_up.id}/manifest.json"
        manifest = json.loads(path.read_text())
        manifest["databases"][0]["object"] = lie(manifest["databases"][0]["object"])
        path.write_text(json.dumps(manifest))
        storages.append(storage)
    for name, done in zip(lies, restores(backed_up, storages, "db", by_id=False), strict=True):
        # An invalid key makes the manifest unreadable, and it is the only one.
        done.ended(2 if name == "key" else 6)
