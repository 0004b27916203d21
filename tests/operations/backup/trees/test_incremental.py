"""Incremental backups of a tree store what changed, and each restores completely."""

from __future__ import annotations

import shutil
import time
from typing import Any

import pytest

from tests.management.commands import Done, run_one
from tests.management.harm import altered, missing, truncated
from tests.services.project import Project
from tests.trees.tools import look

HANDS_OFF = 2.1  # seconds after which a file's times are trusted


def back_up(project: Project, *words: str, status: int = 0) -> tuple[dict[str, Any], Done]:
    """Back up the sites; return the part of the manifest and the command's output."""
    done = run_one(project, "backup_sites", "sites-data", *words, "--json").ended(status)
    (part,) = done.json["manifest"]["trees"]
    return {"id": done.json["manifest"]["id"], **part}, done


def packs(part: dict[str, Any], *, own: bool) -> list[str]:
    return [pack["key"] for pack in part["packs"] if (part["id"] in pack["key"]) == own]


def restored(project: Project, backup_id: str) -> dict[bytes, tuple[object, ...]]:
    run_one(
        project, "restore_all", backup_id, "--only", "sites-data", "--noinput", "--identity", project.identity
    ).ended(0)
    run_one(project, "undo_restore", "--discard", "--noinput").ended(0)
    return look(project.sites)


@pytest.fixture
def nights(project: Project) -> Project:
    """A project whose files are old enough for their times to be trusted."""
    project.seed_small()
    time.sleep(HANDS_OFF)
    return project


@pytest.mark.postgres(18)
def test_backup_incremental_stores_changes_and_restores(nights: Project) -> None:
    seen = {}
    first, _ = back_up(nights)
    seen[first["id"]] = look(nights.sites)
    assert first["full"] and packs(first, own=True) and not packs(first, own=False)

    same, done = back_up(nights)
    seen[same["id"]] = look(nights.sites)
    assert not same["full"] and not packs(same, own=True)
    assert packs(same, own=False) == packs(first, own=True)
    assert "read and stored again" not in done.stderr

    changed = next(path for path in sorted(nights.sites.rglob("*.html")))
    changed.write_text("changed")
    (nights.sites / "new").mkdir()
    (nights.sites / "new" / "page.html").write_text("new")
    gone = sorted(nights.sites.rglob("*.html"))[-1]
    gone.unlink()
    third, _ = back_up(nights)
    seen[third["id"]] = look(nights.sites)
    assert len(packs(third, own=True)) == 1 and packs(third, own=False) == packs(first, own=True)
    raw = {pack["key"]: pack["raw_bytes"] for pack in third["packs"]}
    assert raw[packs(third, own=True)[0]] < 5000

    time.sleep(HANDS_OFF)
    fourth, _ = back_up(nights)  # reads recent files once more, and stores nothing
    seen[fourth["id"]] = look(nights.sites)
    assert not packs(fourth, own=True), "a pack of tiny files is needed, though it is mostly headers"

    full, _ = back_up(nights, "--full")
    assert full["full"] and not packs(full, own=False)
    checked, _ = back_up(nights, "--checksum")
    assert not checked["full"] and not packs(checked, own=True)
    for backup_id, tree in seen.items():
        assert restored(nights, backup_id) == tree


@pytest.mark.postgres(18)
def test_backup_unusable_local_index_reads_everything(nights: Project) -> None:
    first, _ = back_up(nights)

    for night in (1, 2, 3):
        shutil.rmtree(nights.state / "indexes")
        lost, done = back_up(nights)
        assert lost["full"] and "there is no index of it in" in done.stderr
        assert ("WARNING" in done.stderr and "use a volume" in done.stderr) == (night == 3)

    for harm in (altered, truncated, missing):
        (index,) = (nights.state / "indexes").rglob("*.index")
        harm(index)
        cut, done = back_up(nights)
        assert cut["full"] and f"because {'there is no index' if harm is missing else index}" in done.stderr

    (nights.storage / "igny8" / packs(cut, own=True)[0]).unlink()
    gone, done = back_up(nights)
    assert gone["full"] and "storage no longer has all the packs" in done.stderr

    shutil.rmtree(nights.storage / "igny8" / "backups" / gone["id"])
    deleted, done = back_up(nights, status=3)
    assert deleted["full"] and "storage no longer has the backup" in done.stderr
    run_one(nights, "accept_backup", gone["id"], "--lost").ended(0)

    other = nights.storage.parent / "other.key"
    made = run_one(nights, "generate_backup_key", other, "--json").ended(0)
    nights.environment["IGNY8_BACKUP_RECIPIENTS"] = made.json["recipient"]
    rotated, done = back_up(nights)
    assert rotated["full"] and "the recipients have changed" in done.stderr
    assert {item.stem for item in (nights.state / "indexes").rglob("*.json")} == {rotated["id"]}
    assert first["id"] != rotated["id"]


@pytest.mark.postgres(18)
def test_backup_pack_deleted_meanwhile_fails_the_tree(nights: Project) -> None:
    first, _ = back_up(nights)
    (pack,) = packs(first, own=True)
    stored = nights.storage / "igny8" / pack
    # The pack is deleted when the host stores the new local index: only the manifest is missing then.
    nights.settings(f"""
import os, sys
def remove(event, arguments):
    path = str(arguments[0]) if event == "open" else ""
    new = "/indexes/" in path and path.endswith(".new") and {first["id"]!r} not in path
    if new and os.path.exists({str(stored)!r}):
        os.unlink({str(stored)!r})
sys.addaudithook(remove)
""")
    done = run_one(nights, "backup_sites", "sites-data").ended(1)
    assert "disappeared from storage during this backup" in done.stderr
    assert "backup_sites sites-data --full" in done.stderr
    assert len(list((nights.storage / "igny8" / "backups").glob("*/manifest.json"))) == 1
