"""The server for a drill is new enough for the dump, wherever its programs are found."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from igny8_backup.databases.private_server import PROGRAMS, find_server
from igny8_backup.errors import ToolMissingError, ToolTooOldError
from igny8_backup.formats.manifest import COMPLETE
from igny8_backup.formats.parts.database import DatabasePart
from tests.databases.fakes import fake

NIGHT = datetime(2026, 9, 1, tzinfo=UTC)


@pytest.mark.parametrize("on_path", [False, True])
def test_server_that_is_older_than_the_dump_is_refused(
    tmp_path: Path, on_path: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = DatabasePart(
        alias="default",
        engine="postgresql",
        state=COMPLETE,
        started=NIGHT,
        finished=NIGHT,
        server_version="29.1",
        dump_version="29.2",
    )
    folder = tmp_path / "bin"
    bin_dir = None if on_path else folder
    if on_path:
        monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(ToolMissingError, match=r"no PostgreSQL server of version 29"):
        find_server(part, bin_dir)
    for program in PROGRAMS:
        fake(folder, program, "exit 1", version="28.3")
    with pytest.raises(ToolTooOldError, match=r"postgres is version 28\.3, and the dump needs 29 or later"):
        find_server(part, bin_dir)
    fake(folder, "postgres", "exit 1", version="29.0")
    (folder / "postgres").touch()
    assert find_server(part, bin_dir) == folder
