"""Verify a dump without a server."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from igny8_backup.databases.verify_dump import read_dump
from igny8_backup.errors import IntegrityError, ToolError
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.streams.pipeline import from_bytes
from tests.databases.fakes import fake

NOW = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
PART = DatabasePart(
    alias="default", engine="postgresql", state="complete", started=NOW, finished=NOW, dump_version="18.1"
)


@pytest.mark.parametrize("script, expected", [("kill -KILL $$", ToolError), ("exit 1", IntegrityError)])
def test_read_dump_distinguishes_killed_from_failed_pg_restore(
    tmp_path: Path, script: str, expected: type[Exception]
) -> None:
    fake(tmp_path / "bin", "pg_restore", f"cat >/dev/null; {script}")
    with pytest.raises(expected):
        read_dump(from_bytes(b"a dump"), PART, bin_dir=tmp_path / "bin", scratch=tmp_path, user="")
