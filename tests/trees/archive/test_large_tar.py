"""Large files in tars of their own: limits, order, and files that change while they are read."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from igny8_backup.formats.chunked import large_tar_name
from igny8_backup.streams import BLOCK
from igny8_backup.streams.pipeline import from_bytes
from igny8_backup.trees.archive.events import Event, FilesArchived, Progress, Skipped
from igny8_backup.trees.archive.large_tar import LARGE, LargeTars
from igny8_backup.trees.archive.packs import PackWriter, pack_name
from igny8_backup.trees.extract.check import check_pack
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.model.skips import CHANGED
from tests.trees.tools import records_of

ID = "20261122T021500Z-7f3a9c"


@dataclass
class Taken:
    """The packs, the tars of large files, and the records of the files of one walk."""

    packs: dict[str, bytes] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    skipped: list[tuple[bytes, str]] = field(default_factory=list)

    def check(self) -> None:
        """Check that tar reads everything, and that the files are those of the records."""
        for name, data in self.packs.items():
            subprocess.run(["tar", "-tf", "-"], input=data, stdout=subprocess.DEVNULL, check=True)
            check_pack(from_bytes(data), [record for record in self.records if record.pack == name])
        assert {record.pack for record in self.records} == self.packs.keys()

    def placed(self) -> dict[bytes, str]:
        return {record.path: record.pack for record in self.records}


def take(root: Path, limit: int, on_progress: Callable[[int], object] = lambda size: None) -> Taken:
    taken, blocks = Taken(), list[bytes]()

    def emit(event: Event) -> None:
        if isinstance(event, FilesArchived):
            taken.records += records_of(event.files)
        elif isinstance(event, Skipped):
            taken.skipped.append((event.path, event.reason))
        elif isinstance(event, Progress):
            on_progress(event.bytes)

    def end() -> None:
        assert all(len(block) < 2 * BLOCK for block in blocks)
        number = sum("-4" in name for name in taken.packs) + 1
        taken.packs[large_tar_name(ID, number)] = b"".join(blocks)
        blocks.clear()

    large = LargeTars(ID, send=blocks.append, end=end, limit=limit)
    writer = PackWriter(root, backup_id=ID, emit=emit, large=large)
    with closing(writer.packs()) as packs:
        for name, pack in packs:
            taken.packs[name] = b"".join(map(bytes, pack))
    assert not blocks
    return taken


def sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size - 3)
        file.seek(size - 3)
        file.write(b"end")


def test_large_files_are_in_tars_of_their_own_up_to_the_limit(tmp_path: Path) -> None:
    for name, size in (("a", LARGE), ("b", LARGE - 1), ("c", LARGE), ("d", 3 * LARGE), ("e", LARGE)):
        sparse(tmp_path / name, size)
    (tmp_path / "f").write_bytes(b"small")
    taken = take(tmp_path, limit=2 * LARGE + BLOCK)
    assert taken.placed() == {
        b"a": large_tar_name(ID, 1), b"b": pack_name(ID, 1), b"c": large_tar_name(ID, 1),
        b"d": large_tar_name(ID, 2), b"e": large_tar_name(ID, 3), b"f": pack_name(ID, 1),
    }  # fmt: skip
    assert [record.path for record in taken.records] == [b"a", b"b", b"c", b"d", b"e", b"f"]
    taken.check()


@pytest.mark.parametrize("size", [100, LARGE - 1, 3 * LARGE])
def test_large_file_that_gets_another_size_is_stored_as_it_is_then(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a"
    sparse(path, 2 * LARGE)
    sparse(tmp_path / "b", LARGE)

    def change(done: int) -> None:
        if LARGE < done < 2 * LARGE and path.stat().st_size != size:
            os.truncate(path, size)

    taken = take(tmp_path, limit=1 << 30, on_progress=change)
    assert {record.path: record.size for record in taken.records} == {b"a": size, b"b": LARGE}
    assert taken.skipped == []
    taken.check()


def test_large_file_that_always_changes_is_stored_and_reported(tmp_path: Path) -> None:
    path = tmp_path / "a"
    sparse(path, LARGE)

    def change(done: int) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    taken = take(tmp_path, limit=1 << 30, on_progress=change)
    assert taken.skipped == [(b"a", CHANGED)] and taken.records[0].racy
    taken.check()
