"""A tree of odd names, kinds, modes and times."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path

from tests.trees.tools import IS_ROOT


def plant(root: Path) -> None:
    """Make a tree of odd names, kinds, modes and times, all of which must survive a round trip."""
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
            b"empty": 0o000 if IS_ROOT else 0o400,
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
    with suppress(OSError):  # a filesystem without attributes; test_metadata requires them
        os.setxattr(os.path.join(top, b"plain.txt"), "user.origin", b"\0\xff")
        os.setxattr(os.path.join(top, b"hollow"), "user.folder", b"yes")
    age(root)


def age(root: Path) -> None:
    """Give the root and everything below it different times, in nanoseconds, some before 1970."""
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
