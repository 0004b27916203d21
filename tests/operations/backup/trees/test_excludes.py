"""Excluded files are not in the backup, are counted, and are named when they leave the backups."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from igny8_backup.errors import IntegrityError
from igny8_backup.formats import records
from igny8_backup.formats.details import TreeDetails
from igny8_backup.formats.manifest import COMPLETE
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.management.restore.result_text import excluded_lines, previous_lines
from igny8_backup.operations.backup.request import BackupRequest, BackupResult
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.read.details import read_details
from igny8_backup.operations.restore.planning.facts import excluded_live_files
from igny8_backup.operations.restore.planning.plan import RestoreRequest
from igny8_backup.operations.restore.planning.planner import plan_restore
from igny8_backup.operations.restore.run import RestoreSession
from igny8_backup.operations.undo.run import undo
from igny8_backup.trees.scan.excludes import CACHE_SIGNATURE
from tests.operations.conftest import Notes

pytestmark = pytest.mark.slow

REQUEST = BackupRequest(trees=("sites", "uploads"))


def changed(context: BackupContext, **settings: Any) -> BackupContext:
    return replace(context, config=replace(context.config, **settings))


MINUTES = itertools.count()


def backed_up(context: BackupContext, request: BackupRequest = REQUEST) -> BackupResult:
    """Back up as if yesterday, a minute after the call before. The last backup has the latest id."""
    at = context.clock() - timedelta(days=1) + timedelta(minutes=next(MINUTES))
    result = run_backup(replace(context, clock=lambda: at), request)
    assert result.manifest and not result.errors and not result.skipped
    return result


def of_sites(context: BackupContext, result: BackupResult) -> TreeDetails:
    assert result.manifest
    found = read_details(context, result.manifest, []).tree("sites")
    assert found and found == result.trees[0]
    return found


def named(context: BackupContext) -> list[str]:
    """Return the notes on newly excluded files since the last call."""
    texts = cast(Notes, context.progress).texts
    found = [text for text in texts if "excluded since the last backup" in text]
    texts.clear()
    return found


def tag(folder: Path) -> None:
    (folder / "CACHEDIR.TAG").write_bytes(CACHE_SIGNATURE)


def test_backup_excluded_files_are_left_out_without_failure(
    context: BackupContext, trees: tuple[Path, Path]
) -> None:
    for root in trees:
        (root / "a" / "upload.tmp").write_text("half of it")
        (root / "b" / ".cache").mkdir()
        (root / "b" / ".cache" / "page").write_text("made again")
        tag(root / "c")

    def counts(**settings: Any) -> list[tuple[int, int, int]]:
        manifest = backed_up(changed(context, **settings)).manifest
        assert manifest
        return [(part.files, part.directories, part.excluded) for part in manifest.trees]

    both = ("sites", "uploads")
    # Of the folder c only the tag remains, of .cache nothing.
    assert counts(exclude={"sites": ("*.tmp",)}, exclude_caches=both) == [(3, 4, 3), (4, 4, 2)]
    # Files that are no longer excluded are stored, although they have not changed.
    assert counts(exclude={"sites": ("!.cache/",)}, exclude_caches=both) == [(5, 5, 1), (4, 4, 2)]
    assert counts(exclude_caches=("uploads",)) == [(6, 5, 0), (4, 4, 2)]
    assert counts(exclude={"sites": ("/*",)}, exclude_caches=("uploads",)) == [(0, 1, 3), (4, 4, 2)]


def test_backup_without_settings_honours_no_file_of_a_user(
    context: BackupContext, trees: tuple[Path, Path]
) -> None:
    """Names and tags with which a user of the application could hide files from a backup."""
    site = trees[0] / "a"
    before = {part.name: part.files for part in backed_up(context).manifest.trees}  # type: ignore[union-attr]  # it was written before
    tag(site)
    hidden = ["__pycache__", ".cache", ".sass-cache", "node_modules", ".before-20261122T021500Z"]
    for folder in hidden:
        (site / folder).mkdir()
        (site / folder / "page").touch()
        (trees[0] / folder).mkdir()
        (trees[0] / folder / "page").touch()
    for name in (".nobackup", ".backupignore", ".gitignore", ".rsync-filter", ".exclude", "CACHEDIR.TAG"):
        (trees[0] / name).write_text("*\n")
    manifest = backed_up(context).manifest
    assert manifest
    assert manifest.trees[0].files == before["sites"] + 1 + 2 * len(hidden) + 6
    assert manifest.trees[0].excluded == 0


@pytest.mark.parametrize("full", [False, True])
def test_backup_names_folders_that_are_newly_excluded(
    context: BackupContext, trees: tuple[Path, Path], full: bool
) -> None:
    (trees[0] / "a" / "deep").mkdir()
    (trees[0] / "a" / "deep" / "page").write_bytes(b"x" * 5000)
    (trees[0] / "b" / "gone.tmp").touch()
    backed_up(context)
    tag(trees[0] / "a")
    (trees[0] / "b" / "gone.tmp").unlink()
    (trees[0] / "b" / "new.tmp").touch()
    # A suspect backup would be compared with the one before it again.
    excluding = changed(
        context,
        exclude={"sites": ("/c/", "*.tmp")},
        exclude_caches=("sites",),
        shrink={"sites": None},
    )
    result = backed_up(excluding, replace(REQUEST, full=full))
    assert named(context) == [
        "WARNING: sites: excluded since the last backup: a (2 files, 5.0 kB, by CACHEDIR.TAG).",
        "WARNING: sites: excluded since the last backup: c (1 file, 18 B, by a pattern).",
    ]
    details = of_sites(context, result)
    assert [(item.path, item.files) for item in details.newly_excluded] == [("a", 2), ("c", 1)]
    assert details.exclude[-2:] == ("/c/", "*.tmp") and details.exclude_caches
    assert b"newly_excluded" not in records.to_json(result.manifest)
    assert of_sites(context, backed_up(excluding)).newly_excluded == () and named(context) == []


def test_backup_names_newly_excluded_files_of_the_root(
    context: BackupContext, trees: tuple[Path, Path]
) -> None:
    for number in range(3):
        (trees[0] / f"{number}.log").write_text("12345")
    backed_up(context)
    backed_up(changed(context, exclude={"sites": ("*.log",)}))
    assert named(context) == [
        "WARNING: sites: excluded since the last backup: the root (3 files, 15 B, by a pattern)."
    ]


def test_backup_names_few_of_many_newly_excluded_folders(
    context: BackupContext, trees: tuple[Path, Path]
) -> None:
    for number in range(150):
        (trees[0] / str(number)).mkdir()
        (trees[0] / str(number) / "file").touch()
    backed_up(context)
    result = backed_up(changed(context, exclude={"sites": ("/*",)}))
    notes = named(context)
    assert len(notes) == 11 and "143 files in further folders" in notes[-1]
    found = of_sites(context, result).newly_excluded
    assert len(found) == 101 and found[-1].path == "" == found[-1].reason
    assert sum(item.files for item in found) == 153


def test_restore_plan_and_discard_name_excluded_live_files(
    context: BackupContext, trees: tuple[Path, Path]
) -> None:
    """Files that no backup contains are set aside by a restore, and deleted by --discard."""
    excluding = changed(context, exclude={"sites": ("*.db", "/c/")}, exclude_caches=("sites",))
    (trees[0] / "a" / "live.db").write_text("123")
    tag(trees[0] / "b")
    backed_up(excluding)
    # The rules of the backup count as well as those of today.
    for now in (excluding, context):
        plan = plan_restore(now, RestoreRequest(only="sites"))
        expected = sum((trees[0] / path).stat().st_size for path in ("a/live.db", "b/page", "c/page"))
        assert (plan.trees[0].excluded_files, plan.trees[0].excluded_bytes) == (3, expected)
        (note,) = [text for text in plan.notes if "excluded from backups" in text]
        assert "3 live files of 'sites' (39 B) are excluded" in note and "undo_restore --discard" in note
    assert plan_restore(context, RestoreRequest(only="uploads")).trees[0].excluded_files == 0
    journal = RestoreSession(context).execute(plan).journal
    (line,) = excluded_lines(journal)
    assert "3 files (39 B) of 'sites' that backups exclude. No backup contains them." in line
    assert line in previous_lines(journal)
    assert plan_restore(context, RestoreRequest(only="sites")).trees[0].excluded_files == 0
    assert list(excluded_lines(undo(context).journal)) == []


def test_restore_plan_of_a_backup_without_recorded_rules_assumes_the_old_default(
    context: BackupContext, trees: tuple[Path, Path]
) -> None:
    tag(trees[0] / "a")
    part = TreePart(
        name="sites", role="sites", state=COMPLETE, started=context.clock(), finished=context.clock()
    )
    count = partial(excluded_live_files, context.config, details=None, root=trees[0], own=())
    assert count(replace(part, excluded=1)) == (1, 18)
    assert count(part) == (0, 0)


def test_backup_with_a_damaged_journal_keeps_what_restores_keep(
    context: BackupContext, trees: tuple[Path, Path]
) -> None:
    folder = context.journals.folder
    folder.mkdir(parents=True)
    (folder / "20261122T021500Z.json").write_text("{")
    with pytest.raises(IntegrityError):
        context.journals.all()
    (trees[0] / ".before-20261122T021500Z").mkdir()
    (trees[0] / ".before-20261122T021500Z" / "page").touch()
    manifest = backed_up(context).manifest
    assert manifest and manifest.trees[0].files == 4
