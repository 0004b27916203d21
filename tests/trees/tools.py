"""Back up, restore and inspect trees in tests, independently of the code under test where it matters."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import stat
import subprocess
import tempfile
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

from igny8_backup.streams import Blocks
from igny8_backup.trees.archive.comparison import Comparison
from igny8_backup.trees.archive.events import (
    BATCH_FILES,
    EntryArchived,
    Event,
    FilesArchived,
    Progress,
    Skipped,
)
from igny8_backup.trees.archive.folders import FoldersTar
from igny8_backup.trees.archive.hash_client import Hashers
from igny8_backup.trees.archive.packs import PACK_LIMIT, PackWriter
from igny8_backup.trees.extract.writer import TreeWriter
from igny8_backup.trees.index import index
from igny8_backup.trees.index.contents import KnownContents
from igny8_backup.trees.index.lines import FileLines
from igny8_backup.trees.index.parent import ParentIndex
from igny8_backup.trees.model.names import order
from igny8_backup.trees.model.records import Record, from_json, to_line
from igny8_backup.trees.scan.scan import Scan
from igny8_backup.trees.tar import format as tar

T = TypeVar("T")

NOBODY = 65534
IS_ROOT = os.geteuid() == 0

NO_ID = 0xFFFFFFFF
# An ACL as the kernel keeps it (linux/posix_acl_xattr.h): version 2, then tag, permissions, id of each.
ACL = b"".join(
    tag.to_bytes(2, "little") + permissions.to_bytes(2, "little") + number.to_bytes(4, "little")
    for tag, permissions, number in [
        (0x01, 6, NO_ID), (0x02, 4, 33), (0x04, 4, NO_ID), (0x10, 6, NO_ID), (0x20, 0, NO_ID),
    ]
)  # fmt: skip
ACL = (2).to_bytes(4, "little") + ACL


def stream(data: bytes, block: int = 1 << 20) -> Blocks:
    """Yield the bytes in blocks of this size."""
    yield from (data[start : start + block] for start in range(0, len(data), block))


@dataclass
class Backup:
    """The packs and events of one walk of ``PackWriter``."""

    packs: dict[str, bytes] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    skipped: list[tuple[bytes, str]] = field(default_factory=list)
    unopened: list[bytes] = field(default_factory=list)

    def __getitem__(self, path: bytes) -> Record:
        (record,) = (record for record in self.records if record.path == path)
        return record

    def index(self) -> bytes:
        file = io.BytesIO()
        writer = index.IndexWriter(file)
        for record in self.records:
            writer.add(record)
        writer.finish()
        return file.getvalue()

    def folders(self) -> bytes:
        file = io.BytesIO()
        tar = FoldersTar(file)
        for record in self.records:
            tar.add(record)
        tar.finish()
        return file.getvalue()


def records_of(files: FileLines) -> list[Record]:
    """Parse the index lines."""
    return [from_json(json.loads(line)) for line in files.lines]


def take(
    root: Path,
    *,
    limit: int = PACK_LIMIT,
    on_record: Callable[[Record], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    ahead: int = 0,
    batch_files: int | None = None,
    earlier: Backup | None = None,
    checksum: bool = False,
    packs_to_rewrite: Collection[str] = (),
    scan: type[Scan] = Scan,
    hashers: Hashers | None = None,
) -> Backup:
    """Back up a tree into memory; unchanged files stay in the packs of ``earlier``.

    With ``on_record`` or ``on_progress`` each file is reported at once, unless ``batch_files`` is given.
    """
    if batch_files is None:
        batch_files = 1 if on_record or on_progress else BATCH_FILES
    backup = Backup()
    number = len(earlier.packs) if earlier else 0xC
    if earlier:
        backup.packs.update(earlier.packs)

    def record(found: Record) -> None:
        backup.records.append(found)
        if on_record is not None:
            on_record(found)

    def stored(found: FileLines) -> None:
        records = records_of(found)
        assert list(map(to_line, records)) == found.lines
        assert found.size == sum(file.size for file in records)
        packed_sizes: dict[str, int] = {}
        for file in records:
            packed_size = tar.packed_size(len(b"./") + len(file.path), file.size)
            packed_sizes[file.pack] = packed_sizes.get(file.pack, 0) + packed_size
            record(file)
        assert found.packed_sizes == packed_sizes

    def emit(event: Event) -> None:
        match event:
            case EntryArchived(found):
                record(found)
            case FilesArchived(files):
                if not files.opened:
                    backup.unopened.extend(file.path for file in records_of(files))
                stored(files)
            case Skipped(path, reason):
                backup.skipped.append((path, reason))
            case Progress(files_so_far, bytes_so_far):
                if on_progress is not None:
                    on_progress(files_so_far, bytes_so_far)

    with comparison(earlier, checksum, packs_to_rewrite, hashers) as compared:
        writer = PackWriter(
            root,
            backup_id=f"20261122T021500Z-7f3a9{number % 16:x}",
            emit=emit,
            compared=compared,
            ahead=ahead,
            batch_files=batch_files,
            limit=limit,
            scan=scan,
        )
        with closing(writer.packs()) as packs:
            for name, blocks in packs:
                backup.packs[name] = b"".join(blocks)
    return backup


@contextmanager
def comparison(
    earlier: Backup | None, checksum: bool, packs_to_rewrite: Collection[str], hashers: Hashers | None
) -> Iterator[Comparison | None]:
    """Yield the rules for comparing a tree with an earlier backup, if there is one."""
    if earlier is None:
        yield None
        return
    with tempfile.TemporaryFile() as file:
        file.write(earlier.index())
        file.seek(0)
        contents = KnownContents(file.fileno(), packs_to_rewrite)
        yield Comparison(
            ParentIndex(index.lines(file)), checksum, packs_to_rewrite, hashers=hashers, contents=contents
        )


def restore_tree(
    backup: Backup, staging: Path, *, allow_set_id: bool = False, block: int = 1 << 20
) -> Backup:
    """Write the tree of a backup into a new private folder, through its index as it would be stored.

    The ``skipped`` of the result lists what could not be restored.
    """
    staging.mkdir(0o700)
    records = list(index.read(stream(backup.index(), block)))
    assert records == backup.records
    result = Backup()
    writer = TreeWriter(
        staging, on_skip=lambda path, reason: result.skipped.append((path, reason)), allow_set_id=allow_set_id
    )
    with closing(writer):
        for name, data in backup.packs.items():
            inside = [record for record in records if record.pack == name]
            writer.extract_pack(
                stream(data, block), sorted(inside, key=lambda found: order(found.stored_path))
            )
        writer.finish(records)
        writer.flush()
    return result


def look(root: Path, *, times: int = 1) -> dict[bytes, tuple[object, ...]]:
    """Everything that a restore must bring back of each path below ``root``, found with plain ``os.walk``.

    Times are rounded down to ``times`` nanoseconds.
    """
    top = os.fsencode(root)
    found: dict[bytes, tuple[object, ...]] = {}
    names_of: dict[int, bytes] = {}
    paths = []
    for folder, folders, files in os.walk(top):
        paths += [os.path.join(folder, name) for name in folders + files]
    for path in sorted(paths, key=lambda path: path.split(b"/")):
        status = os.lstat(path)
        name = os.path.relpath(path, top)
        kind = stat.S_IFMT(status.st_mode)
        contents: object = None
        if kind == stat.S_IFREG:
            with open(path, "rb") as file:
                contents = hashlib.file_digest(file, "sha256").hexdigest()
            contents = (contents, status.st_size, names_of.setdefault(status.st_ino, name))
        elif kind == stat.S_IFLNK:
            contents = os.readlink(path)
        found[name] = (
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns // times * times,
            contents,
            {name: os.getxattr(path, name) for name in os.listxattr(path)} if kind != stat.S_IFLNK else None,
        )
    return found


def in_child(work: Callable[[], T], *, as_nobody: bool = False) -> T:
    """Run ``work`` in a forked child and return its result; ``as_nobody`` counts if root runs the tests."""

    def pickled() -> bytes:
        if as_nobody and IS_ROOT:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        return pickle.dumps(work())

    code, data = _forked(pickled)
    assert code == 0, data.decode("utf-8", "replace")
    return cast(T, pickle.loads(data))


def exit_of_child(work: Callable[[], object]) -> int:
    """The exit status of a forked child that runs ``work``; ``-N``: killed by signal N; 1: it raised."""
    return _forked(work)[0]


def _forked(work: Callable[[], object]) -> tuple[int, bytes]:
    receive, send = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads of other tests' servers
        child = os.fork()
    if child == 0:
        os.close(receive)
        code, data = 0, b""
        try:
            answer = work()
            data = answer if isinstance(answer, bytes) else b""
        except BaseException:
            code, data = 1, traceback.format_exc().encode()
        with open(send, "wb") as file:
            file.write(data)
        os._exit(code)
    os.close(send)
    with open(receive, "rb") as file:
        data = file.read()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), data


def rsync_differences(one: Path, other: Path) -> str:
    """What rsync would change to make ``other`` equal to ``one``, ACLs and hard links included."""
    run = subprocess.run(
        ["rsync", "-aHAXnci", "--delete", "--numeric-ids", f"{one}/", f"{other}/"],
        capture_output=True,
        check=True,
    )
    return run.stdout.decode("utf-8", "backslashreplace")


def never(path: bytes, reason: str) -> None:
    """An ``on_skip`` for trees of which nothing may be skipped."""
    raise AssertionError((path, reason))


def only_files(found: list[FileLines]) -> Callable[[Event], None]:
    """An ``emit`` that collects the files, for trees of which nothing may be skipped."""

    def emit(event: Event) -> None:
        if isinstance(event, FilesArchived):
            found.append(event.files)
        assert not isinstance(event, Skipped), event

    return emit
