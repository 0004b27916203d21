"""A tree is restored while its index is still being read; failures leave no files and no processes."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from django.core.files.storage import FileSystemStorage, storages

from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.restore.plan import RestorePlan, RestoreRequest
from igny8_backup.operations.restore.planner import plan_restore
from igny8_backup.operations.restore.run import RestoreSession
from igny8_backup.store.generic import GenericStore
from igny8_backup.store.local import LocalStore
from igny8_backup.streams import Blocks
from igny8_backup.streams.pipeline import from_bytes
from igny8_backup.streams.zstd import compress

pytestmark = pytest.mark.slow

FILES = 3000
"""So many that the end of their index is not needed to begin."""
KNOWN = 1990
"""The files in the first batch of records (``trees.partition``), about."""
TOP = "a folder with a name as long as names may be ".ljust(240, "-")
FOLDER = "/".join([TOP] * 4)
SECONDS = 60


def nothing() -> None: ...


class SlowIndex(LocalStore):
    """A stream of index blocks that runs ``meanwhile`` before the last block."""

    pieces: tuple[bytes, ...] = ()
    meanwhile: Callable[[], None] = staticmethod(nothing)

    def _open(self, name: str) -> Blocks:
        return self._slowly() if name.endswith(".index.zst") else super()._open(name)

    def _slowly(self) -> Blocks:
        yield from self.pieces[:-1]
        self.meanwhile()
        yield self.pieces[-1]


@dataclass
class Large:
    """A tree that has changed since its backup, and the plan that restores it."""

    context: BackupContext
    plan: RestorePlan
    root: Path
    store: SlowIndex
    index: bytes

    def restore(self, meanwhile: Callable[[], None], index: bytes = b"") -> None:
        """Restore with this index, whose end arrives after ``meanwhile``."""
        data = index or self.index
        most = len(self.index) - 50_000
        # Two more blocks, because the stream reads ahead before it hands on the first one.
        cuts = [0, most, most + 1, most + 2, len(data)]
        self.store.pieces = tuple(
            b"".join(compress(from_bytes(data[start:end]))) for start, end in pairwise(cuts)
        )
        stored = b"".join(self.store.pieces)
        (item,) = self.plan.trees
        assert item.part.index
        digest = hashlib.sha256(stored).hexdigest()
        made = replace(item.part.index, sha256=digest, stored_bytes=len(stored), raw_bytes=len(data))
        self.store.meanwhile = meanwhile
        tree = replace(item, part=replace(item.part, index=made))
        RestoreSession(self.context).execute(replace(self.plan, trees=(tree,)))

    def wait_for_files(self) -> None:
        """Wait until all files with known records are written: the workers now wait for more."""
        deadline = time.monotonic() + SECONDS
        while len(list(self.root.glob(f".igny8_backup-side-*/{FOLDER}/*"))) < KNOWN:
            assert time.monotonic() < deadline, "too little is written before the index has been read"
            time.sleep(0.05)


def children() -> set[str]:
    return {
        number for path in Path("/proc/self/task").glob("*/children") for number in path.read_text().split()
    }


@pytest.fixture
def large(context: BackupContext, trees: tuple[Path, Path], tmp_path: Path) -> Large:
    root = trees[0]
    (root / FOLDER).mkdir(parents=True)
    for number in range(FILES):
        (root / FOLDER / f"{number:0200}").write_bytes(b"%d" % number)
    assert run_backup(context, BackupRequest(trees=("sites",))).complete
    plan = plan_restore(context, RestoreRequest(only="sites"))
    (item,) = plan.trees
    assert item.part.index
    index = b"".join(context.download(item.part.index, []))
    (root / "a" / "page").write_text("as it is now")
    storage = storages["dbbackup"]
    assert isinstance(storage, FileSystemStorage)
    store = SlowIndex(storage, "igny8/")
    return Large(replace(context, store=store), plan, root, store, index)


def nothing_is_left(large: Large, before: tuple[set[str], set[threading.Thread]]) -> None:
    assert (large.root / "a" / "page").read_text() == "as it is now"
    assert sorted(os.listdir(large.root)) == sorted(["a", "b", "c", TOP])
    assert large.context.journals.all() == []
    assert not list(large.context.config.scratch_dir.glob("igny8_backup-*"))
    assert children() <= before[0] and set(threading.enumerate()) <= before[1]


def test_restore_writes_packs_while_the_index_is_read(large: Large) -> None:
    large.restore(large.wait_for_files)
    assert (large.root / "a" / "page").read_text() == "sites a as it was\n"
    found = {path.name: path.read_bytes() for path in (large.root / FOLDER).iterdir()}
    assert found == {f"{number:0200}": b"%d" % number for number in range(FILES)}


def test_restore_with_damaged_index_is_refused(large: Large) -> None:
    index = large.index
    head, _, trailer = index[:-1].rpartition(b"\n")
    above, _, last = head.rpartition(b"\n")
    pack = last.partition(b'"pack":"')[2].rstrip(b'"}')
    outside = last.replace(b'"path":"c/', b'"path":"../')
    assert outside != last and pack.endswith(b"-0001")
    before = children(), set(threading.enumerate())
    for data, message in {
        index[:-1000]: "ends in the middle of a line",
        head + b"\n": "ends before its last line",
        head + b'\n{"records":7}\n': "does not hold as many records as its last line says",
        b"\n".join((above, outside, trailer, b"")): "is not a path below the root of a tree",
        b"\n".join((above, last.replace(pack, b"another"), trailer, b"")): (
            "names the pack another, which the manifest does not name"
        ),
    }.items():
        with pytest.raises(IntegrityError, match=message):
            large.restore(large.wait_for_files, data)
        nothing_is_left(large, before)


def test_restore_with_damaged_index_and_pack_reports_the_index(large: Large) -> None:
    """The pack fails first."""
    (item,) = large.plan.trees
    (large.store.root / "igny8" / item.part.packs[0].key).write_bytes(b"another pack")
    before = children(), set(threading.enumerate())
    with pytest.raises(IntegrityError, match="The index ends before its last line"):
        large.restore(lambda: time.sleep(0.5), large.index[:-1].rpartition(b"\n")[0] + b"\n")
    nothing_is_left(large, before)
    with pytest.raises((IntegrityError, StorageError), match="-0001.tar.zst"):
        large.restore(nothing)
    nothing_is_left(large, before)


def test_interrupt_stops_workers_that_wait_for_records(large: Large) -> None:
    """The workers have written all known files and would wait forever."""
    came = threading.Event()
    before = children(), set(threading.enumerate())

    def interrupt() -> None:
        large.wait_for_files()
        os.kill(os.getpid(), signal.SIGINT)
        assert came.wait(SECONDS), "the interrupt was not handled"

    def handled(number: int, frame: object) -> None:
        came.set()
        raise KeyboardInterrupt

    usual = signal.signal(signal.SIGINT, handled)
    try:
        with pytest.raises(KeyboardInterrupt):
            large.restore(interrupt)
    finally:
        signal.signal(signal.SIGINT, usual)
    nothing_is_left(large, before)


def test_storage_without_parallel_reads_reads_the_index_first(large: Large) -> None:
    opened: list[str] = []

    class OneAtATime(GenericStore):
        def _open(self, name: str) -> Blocks:
            opened.append(f"{name} begins")
            yield from super()._open(name)
            opened.append(f"{name} ends")

    storage = storages["dbbackup"]
    RestoreSession(replace(large.context, store=OneAtATime(storage, "igny8/"))).execute(large.plan)
    (item,) = large.plan.trees
    assert item.part.index
    keys = [f"igny8/{stored.key}" for stored in (item.part.index, *item.part.packs)]
    objects = [line for line in opened if line.split()[0] in keys]
    assert objects == [f"{key} {word}" for key in keys for word in ("begins", "ends")]
    assert (large.root / "a" / "page").read_text() == "sites a as it was\n"
