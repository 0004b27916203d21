"""A restore of a tree with a damaged index or pack, or that is interrupted, leaves nothing behind."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from django.core.files.storage import FileSystemStorage, storages

from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.restore.planning.plan import RestorePlan, RestoreRequest
from igny8_backup.operations.restore.planning.planner import plan_restore
from igny8_backup.operations.restore.run import RestoreSession
from igny8_backup.store.folder.local import LocalStore
from igny8_backup.streams import Blocks
from igny8_backup.streams.pipeline import from_bytes
from igny8_backup.streams.zstd import compress

pytestmark = pytest.mark.slow

SECONDS = 60


def nothing() -> None: ...


class OtherIndex(LocalStore):
    """A store with an index of its own, which runs ``meanwhile`` in the middle of it."""

    index = b""
    meanwhile: Callable[[], None] = staticmethod(nothing)

    def open(self, key: str) -> Blocks:
        return self._other() if key.endswith(".index.zst") else super().open(key)

    def _other(self) -> Blocks:
        yield self.index[:10]
        self.meanwhile()
        yield self.index[10:]


@dataclass
class Tree:
    """A tree that has changed since its backup, and the plan that restores it."""

    context: BackupContext
    plan: RestorePlan
    root: Path
    store: OtherIndex
    index: bytes

    def restore(self, index: bytes, meanwhile: Callable[[], None] = nothing) -> None:
        """Restore with this index, whose end arrives after ``meanwhile``."""
        self.store.index = b"".join(compress(from_bytes(index)))
        self.store.meanwhile = meanwhile
        (item,) = self.plan.trees
        assert item.part.index
        digest = hashlib.sha256(self.store.index).hexdigest()
        made = replace(
            item.part.index, sha256=digest, stored_bytes=len(self.store.index), raw_bytes=len(index)
        )
        RestoreSession(self.context).execute(
            replace(self.plan, trees=(replace(item, part=replace(item.part, index=made)),))
        )


def children() -> set[str]:
    return {
        number for path in Path("/proc/self/task").glob("*/children") for number in path.read_text().split()
    }


@pytest.fixture
def tree(context: BackupContext, trees: tuple[Path, Path]) -> Tree:
    root = trees[0]
    assert run_backup(context, BackupRequest(trees=("sites",))).complete
    plan = plan_restore(context, RestoreRequest(only="sites"))
    (item,) = plan.trees
    assert item.part.index
    index = b"".join(context.download(item.part.index, []))
    (root / "a" / "page").write_text("as it is now")
    storage = storages["dbbackup"]
    assert isinstance(storage, FileSystemStorage)
    store = OtherIndex(storage, "igny8/")
    return Tree(replace(context, store=store), plan, root, store, index)


def nothing_is_left(tree: Tree, before: tuple[set[str], set[threading.Thread]]) -> None:
    assert (tree.root / "a" / "page").read_text() == "as it is now"
    assert sorted(os.listdir(tree.root)) == ["a", "b", "c"]
    assert tree.context.journals.all() == []
    assert not list(tree.context.config.scratch_dir.glob("igny8_backup-*"))
    assert children() <= before[0] and set(threading.enumerate()) <= before[1]


def test_restore_with_damaged_index_is_refused(tree: Tree) -> None:
    whole = tree.index
    head, _, trailer = whole[:-1].rpartition(b"\n")
    above, _, last = head.rpartition(b"\n")
    pack = last.partition(b'"pack":"')[2].rstrip(b'"}')
    outside = last.replace(b'"path":"c/', b'"path":"../')
    assert outside != last and pack.endswith(b"-0001")
    before = children(), set(threading.enumerate())
    for data, message in {
        whole[:-1000]: "ends in the middle of a line",
        head + b"\n": "ends before its last line",
        head
        + b'\n{"records":99}\n': "The number of records in the index differs from the one in its last line",
        b"\n".join((above, outside, trailer, b"")): "is not a path below the root of a tree",
        b"\n".join((above, last.replace(pack, b"another"), trailer, b"")): (
            "names the pack another, which the manifest does not name"
        ),
    }.items():
        with pytest.raises(IntegrityError, match=message):
            tree.restore(data)
        nothing_is_left(tree, before)


def test_restore_with_damaged_index_and_pack_reports_the_index(tree: Tree) -> None:
    (item,) = tree.plan.trees
    (tree.store.root / "igny8" / item.part.packs[0].key).write_bytes(b"another pack")
    before = children(), set(threading.enumerate())
    with pytest.raises(IntegrityError, match="The index ends before its last line"):
        tree.restore(tree.index[:-1].rpartition(b"\n")[0] + b"\n")
    nothing_is_left(tree, before)
    with pytest.raises((IntegrityError, StorageError), match="-0001.tar.zst"):
        tree.restore(tree.index)
    nothing_is_left(tree, before)


def test_interrupt_while_the_index_is_read_leaves_nothing(tree: Tree) -> None:
    came = threading.Event()
    before = children(), set(threading.enumerate())

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert came.wait(SECONDS), "the interrupt was not handled"

    def handled(number: int, frame: object) -> None:
        came.set()
        raise KeyboardInterrupt

    usual = signal.signal(signal.SIGINT, handled)
    try:
        with pytest.raises(KeyboardInterrupt):
            tree.restore(tree.index, interrupt)
    finally:
        signal.signal(signal.SIGINT, usual)
    nothing_is_left(tree, before)


def test_restore_reads_the_index_before_the_first_pack(tree: Tree) -> None:
    opened: list[str] = []

    class Watched(LocalStore):
        def open(self, key: str) -> Blocks:
            opened.append(f"{key} begins")
            yield from super().open(key)
            opened.append(f"{key} ends")

    storage = storages["dbbackup"]
    assert isinstance(storage, FileSystemStorage)
    RestoreSession(replace(tree.context, store=Watched(storage, "igny8/"))).execute(tree.plan)
    (item,) = tree.plan.trees
    assert item.part.index
    keys = [stored.key for stored in (item.part.index, *item.part.packs)]
    objects = [line for line in opened if line.split()[0] in keys]
    assert objects == [f"{key} {word}" for key in keys for word in ("begins", "ends")]
    assert (tree.root / "a" / "page").read_text() == "sites a as it was\n"
