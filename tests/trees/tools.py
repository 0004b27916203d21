"""Trees for tests: taken, brought back, and looked at by other eyes than the package's."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import random
import stat
import subprocess
import traceback
import warnings
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from igny8_backup.streams import Blocks
from igny8_backup.trees import index
from igny8_backup.trees.extract import TreeWriter
from igny8_backup.trees.packs import PACK_LIMIT, PackWriter, folders_tar
from igny8_backup.trees.records import Record

NOBODY = 65534
IS_ROOT = os.geteuid() == 0


def stream(data: bytes, block: int = 1 << 20) -> Blocks:
    """The bytes in blocks of this size."""
    yield from (data[start : start + block] for start in range(0, len(data), block))


@dataclass
class Backup:
    """What one walk of ``PackWriter`` gave."""

    packs: dict[str, bytes] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    skipped: list[tuple[bytes, str]] = field(default_factory=list)

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
        return b"".join(folders_tar(self.records))


def take(
    root: Path,
    *,
    limit: int = PACK_LIMIT,
    on_record: Callable[[Record], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Backup:
    """Back a tree up into memory."""
    backup = Backup()

    def record(found: Record) -> None:
        backup.records.append(found)
        if on_record is not None:
            on_record(found)

    writer = PackWriter(
        root,
        name=lambda number: f"20261122T021500Z-7f3a9c-{number:04}",
        on_record=record,
        on_skip=lambda path, reason: backup.skipped.append((path, reason)),
        on_progress=on_progress,
        limit=limit,
    )
    with closing(writer.packs()) as packs:
        for name, blocks in packs:
            backup.packs[name] = b"".join(blocks)
    return backup


def bring_back(backup: Backup, side: Path, *, allow_setid: bool = False, block: int = 1 << 20) -> Backup:
    """Write a backup's tree into a new private folder, through its index as it would lie in storage.

    The answer's ``skipped`` tells what could not come back as it was.
    """
    side.mkdir(0o700)
    records = list(index.read(stream(backup.index(), block)))
    assert records == backup.records
    told = Backup()
    with TreeWriter(
        side, on_skip=lambda path, reason: told.skipped.append((path, reason)), allow_setid=allow_setid
    ) as writer:
        for name, data in backup.packs.items():
            writer.extract_pack(stream(data, block), [record for record in records if record.pack == name])
        writer.finish(records)
        writer.flush()
    return told


def look(root: Path, *, times: int = 1) -> dict[bytes, tuple[object, ...]]:
    """All that must come back of everything below ``root``, found with plain ``os.walk``.

    ``times``: nanoseconds to which times are rounded down.
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


def plant(root: Path) -> None:
    """A tree with everything odd that must survive a round trip."""
    chance = random.Random(7)
    top = os.fsencode(root)
    files = {
        b"plain.txt": b"hello\n",
        b"empty": b"",
        b"caf\xe9.txt": b"Latin-1 in its name",
        "Zürich ☃.html".encode(): b"UTF-8 in its name",
        b"100%25 off%": b"percent",
        b'line\nbreak\ttab\\back"quote\x1b[31m\x7f': b"control characters",
        b"-rf": b"a dash",
        b" leading and trailing ": b"blanks",
        b"sub/deep/er/file.bin": chance.randbytes(70_000),
        b"sub.txt": b"sorts between sub and its contents, byte by byte",
        b"sub/" + b"n" * 255: b"longest name",
        b"/".join([b"d" * 60] * 8) + b"/" + b"\xff" * 200: b"longest path, and no text",
        b"x" * 98: b"a name that fills its field in a tar",
        b"x" * 99: b"and one byte more",
        b"large.bin": chance.randbytes(3_000_000),
        b"size-512": bytes(range(256)) * 2,
        b"holes.bin": b"",
        b"readonly/file": b"in a folder that may not be written",
    }
    for name, data in files.items():
        path = os.path.join(top, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
    with open(os.path.join(top, b"holes.bin"), "wb") as file:
        file.write(b"begin")
        file.seek(5_000_000)
        file.write(b"middle")
        file.truncate(9_000_001)
    for number, folder in enumerate((b"hollow", b"hollow/er", b"\xfe\xff")):
        os.mkdir(os.path.join(top, folder), 0o700 + number)
    for name, target in {
        b"link": b"plain.txt",
        b"dangling": b"../nowhere/\xe9\n%",
        b"absolute": b"/etc/passwd",
        b"sub/up": b"..",
        b"to-self": b"to-self",
        b"long": b"t/" * 2000,
    }.items():
        os.symlink(target, os.path.join(top, name))
    os.link(os.path.join(top, b"plain.txt"), os.path.join(top, b"hollow/another name"))
    os.link(os.path.join(top, b"plain.txt"), os.path.join(top, b"\xff-third"))
    os.link(os.path.join(top, b"sub/deep/er/file.bin"), os.path.join(top, b"a-first-name"))
    for number, (name, mode) in enumerate(
        {
            b"plain.txt": 0o640,
            b"empty": 0o000,
            b"-rf": 0o777,
            b"sub/deep/er": 0o3775,
            b"readonly": 0o555,
        }.items()
    ):
        path = os.path.join(top, name)
        if IS_ROOT:
            os.chown(path, 1000 + number, 33)
        os.chmod(path, mode)
    if IS_ROOT:
        os.chown(os.path.join(top, b"dangling"), 33, 4_000_000_000, follow_symlinks=False)
        os.chown(os.path.join(top, b"size-512"), 2_097_152, 0)
    with suppress(OSError):  # a filesystem without them; test_metadata insists
        os.setxattr(os.path.join(top, b"plain.txt"), "user.origin", b"\0\xff")
        os.setxattr(os.path.join(top, b"hollow"), "user.folder", b"yes")
    age(root)


def age(root: Path) -> None:
    """Give everything below (and the root) a time of its own, to the nanosecond, some before 1970."""
    top = os.fsencode(root)
    moment = 1_700_000_000_123_456_789
    for folder, folders, files in os.walk(top, topdown=False):
        for name in sorted(folders + files):
            moment += 1_000_000_007
            os.utime(os.path.join(folder, name), ns=(moment, moment), follow_symlinks=False)
    old = os.path.join(top, b"empty")
    if os.path.lexists(old):
        os.utime(old, ns=(-1_500_000_001, -1_500_000_001))
    os.utime(top, ns=(moment + 1, moment + 1))


def in_child(work: Callable[[], object], *, as_nobody: bool = False) -> object:
    """What ``work`` returns in a forked child, which ``os._exit``s: run there to be killed, or to be nobody.

    The answer is ``-N`` where signal N killed the child; an exception there is raised here as its text.
    """
    receive, send = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads of other tests' servers
        child = os.fork()
    if child == 0:
        os.close(receive)
        try:
            if as_nobody and IS_ROOT:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            answer: object = (True, work())
        except BaseException:
            answer = (False, traceback.format_exc())
        with open(send, "wb") as file:
            pickle.dump(answer, file)
        os._exit(0)
    os.close(send)
    with open(receive, "rb") as file:
        data = file.read()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code:
        return code
    good, value = pickle.loads(data)
    if not good:
        raise AssertionError(value)
    return value


def rsync_differences(one: Path, other: Path) -> str:
    """What rsync would change to make ``other`` as ``one``: contents, modes, owners, times, hard links."""
    run = subprocess.run(
        ["rsync", "-aHXnci", "--delete", "--numeric-ids", f"{one}/", f"{other}/"],
        capture_output=True,
        check=True,
    )
    return run.stdout.decode("utf-8", "backslashreplace")


def descriptors() -> set[str]:
    """The descriptors this process has open."""
    return set(os.listdir("/proc/self/fd"))
