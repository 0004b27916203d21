"""Excluded files are not in the backup, are counted, and are no failure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.trees.scan.excludes import CACHE_SIGNATURE


def test_backup_excluded_files_are_left_out_without_failure(
    context: BackupContext, trees: tuple[Path, Path]
) -> None:
    for root in trees:
        (root / "a" / "upload.tmp").write_text("half of it")
        (root / "b" / ".cache").mkdir()
        (root / "b" / ".cache" / "page").write_text("made again")
        (root / "c" / "CACHEDIR.TAG").write_bytes(CACHE_SIGNATURE)
    request = BackupRequest(trees=("sites", "uploads"))

    def counts(**settings: object) -> list[tuple[int, int, int]]:
        changed = replace(context, config=replace(context.config, **settings))  # type: ignore[arg-type]
        result = run_backup(changed, request)
        assert result.complete and result.manifest and not result.skipped
        return [(part.files, part.directories, part.excluded) for part in result.manifest.trees]

    # Of the folder c only the tag remains, of .cache nothing.
    assert counts(exclude={"sites": ("*.tmp",)}) == [(3, 4, 3), (4, 4, 2)]
    # Files that are no longer excluded are stored, although they have not changed.
    assert counts(exclude={"sites": ("!.cache/",)}) == [(5, 5, 1), (4, 4, 2)]
    assert counts(exclude={}, exclude_caches=False) == [(6, 5, 0), (6, 5, 0)]
    assert counts(exclude={"sites": ("/*",)}) == [(0, 1, 3), (4, 4, 2)]
