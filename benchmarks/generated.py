"""``python -m benchmarks.generated KIND AMOUNT``: run code of this package on generated streams.

``benchmarks.memory`` starts one process for each, to measure its memory. ``encode`` and ``decode`` process
AMOUNT bytes of a dump as a backup and a restore do; ``file`` backs up and restores a sparse file of AMOUNT
bytes; ``records`` writes and reads the index of AMOUNT files; ``chunks`` stores a dump in chunks of AMOUNT
bytes after a day. Nothing is stored.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import django
import pyrage

from benchmarks.texts import generator
from igny8_backup.store import Store, Stored
from igny8_backup.store.objects import missing_error
from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.age import parse_identities
from igny8_backup.streams.pipeline import Codec, decode
from igny8_backup.streams.process import process_output
from igny8_backup.trees.archive.events import Event, FilesArchived
from igny8_backup.trees.archive.packs import PackWriter
from igny8_backup.trees.extract.writer import TreeWriter
from igny8_backup.trees.index import index
from igny8_backup.trees.index.lines import FileLines
from igny8_backup.trees.model.records import Record, from_json
from igny8_backup.trees.tar.blocks import TarBlocks

if TYPE_CHECKING:
    from igny8_backup.operations.context import BackupContext

_DIFFERENT = 8  # blocks, before they come again: far beyond what the compressor looks back


class DiscardingStore(Store):
    """A store that discards everything."""

    def identity(self) -> str:
        return "discard://"

    def describe(self) -> str:
        return "nowhere"

    def _put(self, name: str, blocks: Blocks, estimate: int | None, claimed: bool) -> None:
        for _ in blocks:
            pass

    def _put_small(self, name: str, data: bytes) -> None: ...

    def _open(self, name: str) -> Callable[[int], Blocks]:
        raise missing_error(name, "nowhere")

    def _list(self, folder: str) -> Iterator[Stored]:
        return iter(())

    def _list_dirs(self, folder: str) -> list[str]:
        return []

    def _size(self, name: str) -> int | None:
        return None

    def _delete(self, name: str) -> None: ...


def rows(amount: int) -> Blocks:
    """Yield about ``amount`` bytes that compress partly."""
    choose = generator("stream")
    half = BLOCK // 2
    blocks = [
        choose.randbytes(half).hex().encode()[:half] + choose.randbytes(half) for _ in range(_DIFFERENT)
    ]
    for number in range(amount // BLOCK):
        yield blocks[number % _DIFFERENT]


def records(amount: int) -> Iterator[Record]:
    """Yield the records of a root and of files in folders of 100."""
    folder = Record(
        path=b"",
        kind="dir",
        mode=0o755,
        uid=1000,
        gid=1000,
        user="app",
        group="app",
        size=0,
        mtime_ns=1_760_000_000_123_456_789,
        ctime_ns=1_760_000_000_123_456_789,
        inode=5,
    )
    file = folder._replace(kind="file", mode=0o644, pack="20261122T021500Z-7f3a9c-0001")
    yield folder
    for number in range(amount):
        parent = b"tenant-%07d" % (number // 100)
        if number % 100 == 0:
            yield folder._replace(path=parent)
        path = parent + b"/page-%02d.html" % (number % 100)
        yield file._replace(path=path, size=number, inode=number, sha256=f"{number:064x}")


def index_of(found: Iterator[Record]) -> Blocks:
    """Yield the index as a backup writes it."""
    buffer = BytesIO()
    writer = index.IndexWriter(buffer)
    for record in found:
        writer.add(record)
        if buffer.tell() > BLOCK:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    writer.finish()
    yield buffer.getvalue()


def main() -> None:
    django.setup()
    # Only now: they read the settings.
    from benchmarks.generated_chunks import store_after_a_day
    from igny8_backup.conf import get_config
    from igny8_backup.operations.context import BackupContext
    from igny8_backup.operations.transfer.upload import index_codec

    kind, amount = sys.argv[1], int(sys.argv[2])
    key = pyrage.x25519.Identity.generate()
    identities, recipient = parse_identities(str(key)), str(key.to_public())
    codec = Codec(recipients=(recipient,))
    store = DiscardingStore("")
    context = BackupContext(config=get_config(), store=store, own_store=store, codec=codec)
    if kind == "encode":
        context.upload("db/default.dump.zst.age").send(rows(amount), estimate=amount)
    elif kind == "source":
        for block in Codec(recipients=(sys.argv[3],)).encode(rows(amount)):
            sys.stdout.buffer.write(block)
    elif kind == "decode":
        argv = [sys.executable, "-m", "benchmarks.generated", "source", str(amount), recipient]
        for _ in decode(process_output(argv), codec.names, identities):
            pass
    elif kind == "file":
        with tempfile.TemporaryDirectory() as folder:
            _file(context, Path(folder), amount)
    elif kind == "chunks":
        with tempfile.TemporaryDirectory() as folder:
            made = store_after_a_day(context, Path(folder), amount)
        print(f"{len(made.header.packs):,} packs, {len(made.runs):,} ranges of them")
    elif kind == "records":
        codec = index_codec(codec)
        blocks = decode(codec.encode(index_of(records(amount))), codec.names, identities)
        context.upload("files/again.zst.age", codec=codec).send(index_of(index.read(blocks)))
    else:
        raise SystemExit(__doc__)


def _file(context: BackupContext, folder: Path, amount: int) -> None:
    source, side = folder / "source", folder / "side"
    source.mkdir()
    side.mkdir(mode=0o700)
    with (source / "large").open("wb") as file:
        file.truncate(amount)
    found: list[FileLines] = []

    def emit(event: Event) -> None:
        if isinstance(event, FilesArchived):
            found.append(event.files)

    def packs() -> Generator[tuple[str, TarBlocks], None, None]:
        found.clear()
        writer = PackWriter(source, backup_id="large", emit=emit)
        return writer.packs()

    with closing(packs()) as opened:
        for name, blocks in opened:
            context.upload(f"packs/{name}").send(bytes(block) for block in blocks)
    files = [from_json(json.loads(line)) for file in found for line in file.lines]
    with closing(TreeWriter(side, on_skip=lambda path, reason: None)) as writer:
        for _, blocks in packs():
            writer.extract_pack((bytes(block) for block in blocks), files)


if __name__ == "__main__":
    main()
