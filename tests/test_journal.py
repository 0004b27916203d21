"""The journal of restores is always complete, whatever happens while it is written."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from igny8_backup.errors import BackupError, FilesError
from igny8_backup.formats.details import DatabaseDetails, DatabaseSetting, Privilege
from igny8_backup.journal import (
    DONE,
    PREPARING,
    READY,
    SCHEMA,
    SWAPPING,
    UNDOING,
    UNDONE,
    DatabaseSwap,
    Journal,
    Journals,
    TreeSwap,
)
from igny8_backup.management.restore.result_text import journal_as_json
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.swap.plan import Child, SwapPlan

REPOSITORY = Path(__file__).resolve().parents[1]
STARTED = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
DETAILS = DatabaseDetails(
    alias="default",
    name="igny8",
    tables=("public.a",),
    migrations={"app": "0001_initial"},
    settings=(DatabaseSetting(role="", name="work_mem", value="4MB"),),
    privileges=(Privilege(grantee="", privilege="CONNECT", grantable=False),),
)
ROOT = Record(
    path=b"", kind="dir", mode=0o755, uid=0, gid=0, user="root", group="root", size=0, mtime_ns=2**70,
    ctime_ns=0, inode=2**63, xattrs=(("user.a", b"b"),),
)  # fmt: skip
PLAN = SwapPlan(
    folder=Path("/data/uploads"),
    stamp="20261122T021500Z",
    staging_inode=2**64 - 1,
    children=(Child(b"caf\xe9", 1, 2), Child(b"new", None, 2**63)),
    old=ROOT,
    new=None,
)
JOURNAL = Journal(
    schema=SCHEMA,
    stamp="20261122T021500Z",
    phase=PREPARING,
    started=STARTED,
    backup_ids=("20261121T021500Z-7f3a9c",),
    databases=(
        DatabaseSwap(
            alias="default",
            name="igny8",
            staging="igny8__side",
            previous="igny8__before",
            existed=True,
            details=DETAILS,
        ),
    ),
    trees=(TreeSwap(name="uploads", root="/data/uploads", previous="/data/uploads/.before", plan=PLAN),),
)
SCHEMA_1 = """{
  "backup_ids": ["20261121T021500Z-7f3a9c"],
  "databases": [{"alias": "default", "before": "igny8__before", "existed": true,
    "details": {"alias": "default", "name": "igny8", "tables": []},
    "name": "igny8", "place": "", "side": "igny8__side"}],
  "phase": "swapping",
  "schema": 1,
  "stamp": "20261122T021500Z",
  "started": "2026-11-22T02:15:00.000000Z",
  "trees": [
    {"kept": "/data/uploads/.before-20261122T021500Z", "name": "uploads", "plan": PLAN,
     "root": "/data/uploads", "whole": false},
    {"kept": "/data/.before-20261122T021500Z-sites", "name": "sites", "plan": "", "root": "/data/sites",
     "whole": true}
  ]
}
"""
PLAN_1 = (
    '{"format": "igny8_backup swap", "version": 1, "root": "/data/uploads", "stamp": "20261122T021500Z",'
    ' "side_inode": 5, "children": [["caf%E9", 1, 2], ["new", null, 3]], "old": {"path": "", "kind": "dir",'
    ' "mode": "0755", "uid": 0, "gid": 0, "user": "root", "group": "root", "size": 0, "mtime_ns": 7,'
    ' "ctime_ns": 8, "inode": 9}, "new": null, "undoing": false, "only": null}'
)
KILLED_WHILE_WRITING = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from django.conf import settings
settings.configure()
from igny8_backup.journal import Journals
journals = Journals(Path(sys.argv[1]))
(journal,) = journals.all()
number = 0
while True:
    journals.write(replace(journal, backup_ids=(str(number) * 4000,)), "swapping")
    number += 1
    if number == 5:
        print("going", flush=True)
"""


@pytest.fixture
def journals(tmp_path: Path) -> Journals:
    return Journals(tmp_path / "state")


def stamped(number: int, phase: str) -> Journal:
    return replace(JOURNAL, stamp=f"20261122T02150{number}Z", phase=phase)


def test_journals_without_folder_are_empty(journals: Journals) -> None:
    assert journals.all() == []
    assert journals.unfinished() is None


def test_journal_written_is_read_back_with_its_phase(journals: Journals) -> None:
    assert journals.write(JOURNAL) == JOURNAL
    assert journals.all() == [JOURNAL]
    done = journals.write(JOURNAL, DONE)
    assert done == replace(JOURNAL, phase=DONE)
    assert Journals(journals.folder.parent).all() == [done]


def test_journal_of_schema_1_is_read_and_written_in_the_new_schema(journals: Journals) -> None:
    journals.folder.mkdir(parents=True)
    path = journals.folder / "20261122T021500Z.json"
    path.write_text(SCHEMA_1.replace("PLAN", json.dumps(PLAN_1)))
    (found,) = journals.all()
    assert (found.schema, found.phase, found.started) == (SCHEMA, SWAPPING, STARTED)
    (database,) = found.databases
    assert (database.staging, database.previous, database.existed) == ("igny8__side", "igny8__before", True)
    uploads, sites = found.trees
    assert uploads.plan is not None and sites.plan is None
    assert (uploads.plan.folder, uploads.plan.staging_inode) == (Path("/data/uploads"), 5)
    assert uploads.plan.children == (Child(b"caf\xe9", 1, 2), Child(b"new", None, 3))
    assert uploads.previous == "/data/uploads/.before-20261122T021500Z" and not uploads.swap_root
    assert sites.previous == "/data/.before-20261122T021500Z-sites" and sites.swap_root
    assert journals.write(found, DONE) == replace(found, phase=DONE)
    assert Journals(journals.folder.parent).all() == [replace(found, phase=DONE)]
    assert json.loads(path.read_bytes())["schema"] == SCHEMA


@pytest.mark.parametrize(
    "broken", [{"children": [["a", 1]]}, {"children": 7}, {"root": 7}, {"old": None}, {"side_inode": "x"}]
)
def test_journal_of_schema_1_with_a_malformed_plan_raises(
    journals: Journals, broken: dict[str, object]
) -> None:
    journals.folder.mkdir(parents=True)
    path = journals.folder / "20261122T021500Z.json"
    plan = json.dumps({**json.loads(PLAN_1), **broken})
    path.write_text(SCHEMA_1.replace("PLAN", json.dumps(plan)))
    with pytest.raises(BackupError, match="the plan of a tree swap cannot be understood"):
        journals.all()


@pytest.mark.parametrize("phase", [PREPARING, READY, SWAPPING, UNDOING])
def test_unfinished_returns_the_interrupted_restore(journals: Journals, phase: str) -> None:
    journals.write(stamped(1, DONE))
    journals.write(stamped(3, UNDONE))
    assert journals.unfinished() is None
    journals.write(stamped(2, phase))
    assert journals.unfinished() == stamped(2, phase)
    assert [item.stamp[-2] for item in journals.all()] == ["1", "2", "3"]
    journals.remove(stamped(2, phase))
    assert journals.unfinished() is None
    journals.remove(stamped(2, phase))


def test_journal_files_are_private(journals: Journals) -> None:
    old = os.umask(0)
    try:
        journals.write(JOURNAL)
    finally:
        os.umask(old)
    assert stat.S_IMODE(journals.folder.stat().st_mode) == 0o700
    (path,) = journals.folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_journal_writer_killed_leaves_a_complete_journal(journals: Journals) -> None:
    journals.write(JOURNAL)
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED_WHILE_WRITING, journals.folder.parent],
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(REPOSITORY)},
        ) as writer:
            assert writer.stdout and writer.stdout.readline() == "going\n"
            writer.kill()
        (found,) = journals.all()
        assert found.phase == SWAPPING
        assert len(set(found.backup_ids[0])) == 1 or found.backup_ids[0].isdigit()


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\x00" * 100, b'{"schema": 3}', b'{"schema": 1}'])
def test_damaged_journal_raises_and_is_named(journals: Journals, content: bytes) -> None:
    journals.write(stamped(1, DONE))
    path = journals.folder / "20261122T021502Z.json"
    path.write_bytes(content)
    for question in (journals.all, journals.unfinished):
        with pytest.raises(BackupError) as caught:
            question()
        assert str(path) in str(caught.value)
        assert "Choose another backup" not in str(caught.value), "no other backup mends a journal"


def test_journal_folder_that_is_not_usable_raises(tmp_path: Path) -> None:
    (tmp_path / "restores").touch()
    journals = Journals(tmp_path)
    for work in (journals.all, journals.unfinished, lambda: journals.write(JOURNAL)):
        with pytest.raises(FilesError) as caught:
            work()
        assert str(tmp_path / "restores") in str(caught.value)
    with pytest.raises(FilesError):
        journals.remove(JOURNAL)


def test_journal_that_cannot_be_written_is_unchanged(journals: Journals) -> None:
    journals.write(JOURNAL)
    (journals.folder / "journal.partial").mkdir()
    with pytest.raises(FilesError, match="STATE_DIR"):
        journals.write(JOURNAL, SWAPPING)
    assert journals.all() == [JOURNAL]


def test_journal_as_json_holds_the_plan_as_an_object() -> None:
    without = replace(JOURNAL, trees=(replace(JOURNAL.trees[0], plan=None),))
    for journal, plan in ((JOURNAL, PLAN.to_plain()), (without, None)):
        (tree,) = journal_as_json(journal)["trees"]
        assert tree["plan"] == plan and json.dumps(tree["plan"])
