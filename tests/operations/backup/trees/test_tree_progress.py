"""The progress of a tree's backup, compared with the size of the last one."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from igny8_backup.management.progress import TextProgress
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from tests.operations.conftest import Notes

pytestmark = pytest.mark.slow


class Steps(Notes):
    def __init__(self) -> None:
        super().__init__()
        self.begun: list[tuple[str, int | None, int | None]] = []
        self.bytes = self.files = 0

    def begin(self, what: str, total: int | None, count: int | None = None, unit: str = "files") -> None:
        self.begun.append((what, total, count))
        self.bytes = self.files = 0

    def advance(self, amount: int, count: int = 0) -> None:
        self.bytes += amount
        self.files += count


def test_backup_tree_progress_total_is_the_last_backup(context: BackupContext) -> None:
    steps = Steps()
    shown = replace(context, progress=steps)
    size = 3 * len("sites a as it was\n")
    for request, known in (
        (BackupRequest(trees=("sites",)), (None, None)),
        (BackupRequest(trees=("sites",)), (size, 3)),
        (BackupRequest(trees=("sites",), full=True), (size, 3)),
    ):
        steps.begun.clear()
        assert run_backup(shown, request).complete
        assert steps.begun == [("files sites", *known)]
        assert (steps.bytes, steps.files) == (size, 3)


def test_backup_tree_progress_log_line_counts_files_and_bytes() -> None:
    class Log(io.StringIO):
        def write(self, text: str) -> int:
            return super().write(text + "\n")

    log = Log()
    with TextProgress(log, every=-1) as shown:
        shown.begin("files sites", 3_000_000, 4_000)
        shown.advance(1_000_000, 1_500)
        shown.begin("files other", None)
        shown.advance(1_000_000, 2)
        shown.begin("database default", 2_000_000)
        shown.advance(1_000_000)
    first, second, third = log.getvalue().splitlines()
    assert first.startswith("files sites: 1 of about 3 MB, 1,500 of about 4,000 files, ")
    assert second.startswith("files other: 1 MB, 2 files, ")
    assert third.startswith("database default: 1 of about 2 MB, ") and "files" not in third
