"""The archives of one dump are stored side by side, all or none."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

import pytest

from igny8_backup.errors import StorageError
from igny8_backup.formats.manifest import COMPLETE, DatabasePart
from igny8_backup.operations.backup.archives import store_archives
from igny8_backup.operations.context import BackupContext
from igny8_backup.streams import Blocks
from tests.databases.stage import blocks_of
from tests.operations.clocks import Clock

ID = "20251122T021500Z-7f3a9c"


def test_failed_archive_leaves_none_in_storage(
    context: BackupContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = Clock()()
    part = DatabasePart(alias="default", engine="postgresql", state=COMPLETE, started=now, finished=now)
    folder = tmp_path / "storage/igny8/backups" / ID / "db"
    done = folder / "default.main.dump.zst"

    def failing() -> Blocks:
        yield b"begun"
        while not done.exists():
            Event().wait(0.001)
        raise StorageError("cut")

    streams: list[Any] = [blocks_of(b"main"), failing()]
    with pytest.raises(StorageError, match="cut"):
        store_archives(context, ID, part, streams, kind="dump", size=7)
    assert not list(folder.glob("*"))
    stored = store_archives(context, ID, part, [blocks_of(b"main"), blocks_of(b"rows")], kind="dump", size=7)
    assert {path.name for path in folder.iterdir()} == {done.name, "default.data-01.dump.zst"}
    assert [item.raw_bytes for item in stored.archives] == [4, 4]
