"""The archives of one dump are stored side by side, all or none."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pytest

from igny8_backup.databases.dump_streams import DumpStreams
from igny8_backup.errors import StorageError
from igny8_backup.formats.manifest import COMPLETE
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.operations.backup.archives import store_archives
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.read.dump import open_archives
from igny8_backup.streams import Blocks
from igny8_backup.streams.side_by_side import Guard, run_side_by_side
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

    streams = DumpStreams([blocks_of(b"main"), failing()], at_once=2)
    with pytest.raises(StorageError, match="cut"):
        store_archives(context, ID, part, streams, kind="dump", size=7)
    assert not list(folder.glob("*"))
    streams = DumpStreams([blocks_of(b"main"), blocks_of(b"rows")])
    stored = store_archives(context, ID, part, streams, kind="dump", size=7)
    assert {path.name for path in folder.iterdir()} == {done.name, "default.data-01.dump.zst"}
    assert [item.raw_bytes for item in stored.archives] == [4, 4]


def test_archives_use_one_connection_each(context: BackupContext, settings: Any, tmp_path: Path) -> None:
    """Many clients, such as that of SFTP, do not allow two threads to use one connection."""
    options = {"location": str(tmp_path / "storage")}
    backend = "tests.operations.storages.OneThreadOnly"
    settings.STORAGES = {**settings.STORAGES, "dbbackup": {"BACKEND": backend, "OPTIONS": options}}
    now = Clock()()
    part = DatabasePart(alias="default", engine="postgresql", state=COMPLETE, started=now, finished=now)
    archives = [os.urandom(12 << 20), os.urandom(12 << 20)]

    def dumped(number: int, together: Barrier) -> Blocks:
        yield archives[number][: 10 << 20]  # so much that the storage has begun to store it
        together.wait(20)
        yield archives[number][10 << 20 :]

    def read(blocks: Blocks, together: Barrier, guard: Guard) -> bytes:
        read = guard(blocks)
        first = next(read)
        together.wait(20)
        return first + b"".join(read)

    with open_context() as found:
        together = Barrier(2)
        streams = DumpStreams([dumped(number, together) for number in range(2)], at_once=2)
        part = store_archives(found, ID, part, streams, kind="dump", size=12 << 20)
        together = Barrier(2)
        readers = [partial(read, blocks, together) for blocks in open_archives(found, part, [])]
        assert run_side_by_side(readers, 2) == archives
