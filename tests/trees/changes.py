"""Changes of a tree between two backups, as strategies for Hypothesis."""

from __future__ import annotations

import os
import random
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

KINDS = (
    "write",
    "change, size and mtime kept",
    "rename",
    "folder",
    "file",
    "chmod",
    "attribute",
    "hard link",
    "symlink",
    "delete",
)
NAMES = ("a", "b", "a.b", "a-b", "ä", "a/x", "a/y/z", "b/x", "n\nl", "%41", "l" * 120)


@dataclass(frozen=True)
class Change:
    """A change of ``name``; ``other`` is a second name, ``number`` a mode or a size, where needed."""

    kind: str
    name: str
    other: str
    number: int


CHANGES = st.builds(
    Change, st.sampled_from(KINDS), st.sampled_from(NAMES), st.sampled_from(NAMES), st.integers(0, 3000)
)


def apply(root: Path, change: Change) -> None:
    """Make one change, if the tree allows it."""
    with suppress(OSError, shutil.Error):
        _apply(root / change.name, root / change.other, change)


def _apply(path: Path, other: Path, change: Change) -> None:
    if change.kind == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_contents(change.number))
    elif change.kind == "change, size and mtime kept":
        before = path.stat()
        path.write_bytes(bytes(255 - byte for byte in path.read_bytes()))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif change.kind == "rename":
        path.rename(other)
    elif change.kind == "folder":
        _delete(path)
        path.mkdir(parents=True)
    elif change.kind == "file":
        _delete(path)
        path.write_bytes(_contents(change.number))
    elif change.kind == "chmod":
        path.chmod(0o700 | change.number % 64)
    elif change.kind == "attribute":
        os.setxattr(path, "user.note", b"%d" % change.number)
    elif change.kind == "hard link":
        if not path.is_symlink():  # a hard-linked symlink is restored as two symlinks
            os.link(path, other)
    elif change.kind == "symlink":
        other.symlink_to(change.name)
    else:
        _delete(path)


def _contents(size: int) -> bytes:
    """Incompressible bytes, different for each size."""
    return random.Random(size).randbytes(size)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
