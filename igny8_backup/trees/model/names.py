"""File names as bytes: their order, their escaped form in text, and the names that this package uses itself.

A file name on a POSIX system is any bytes but ``/`` and NUL. In JSON and in messages a name is UTF-8 in which
each byte that is not valid UTF-8, and ``%`` itself, is percent-escaped; every name has exactly one escaped
form: ``b"caf\\xe9 50%"`` is ``caf%E9 50%25``.
"""

from __future__ import annotations

import re

from igny8_backup.trees.model.damage import damaged

_OWN = re.compile(rb"\.(igny8_backup-side|before)-\d{8}T\d{6}Z|\.igny8_backup-moving-\d+")

DEPTH_LIMIT = 500
"""Levels of folders: a scan holds a descriptor for each, and a process may have 1,024."""

PATH_LIMIT = DEPTH_LIMIT * 256
"""Bytes in a path: ``DEPTH_LIMIT`` names of 255 bytes."""

_DOUBTFUL = re.compile(rb"/[./]|\0")
_BROKEN = re.compile("[\udc80-\udcff]")
_ESCAPED = re.compile(b"%([0-9A-F]{2})")


def staging_name(stamp: str) -> str:
    """The name of the staging folder: the folder, in the root, in which the new tree is built."""
    return f".igny8_backup-side-{stamp}"


def previous_name(stamp: str) -> str:
    """The name of the folder, in the root, that holds the previous tree after a swap."""
    return f".before-{stamp}"


def is_own(name: bytes) -> bool:
    """Whether a child of the root was made by this package and is never backed up."""
    return _OWN.fullmatch(name) is not None


def order(path: bytes) -> bytes:
    """A key that sorts paths by their components: a folder, its contents, then its next sibling.

    NUL is in no name and sorts before every byte, so comparing keys compares the lists of components.
    """
    return path.replace(b"/", b"\0")


def escape(name: bytes) -> str:
    """The escaped text of a name, a path or a symlink target."""
    text = name.replace(b"%", b"%25").decode("utf-8", "surrogateescape")
    if text.isascii():
        return text
    return _BROKEN.sub(lambda match: f"%{ord(match[0]) - 0xDC00:02X}", text)


def unescape(text: str) -> bytes:
    """The name that ``escape`` turns into this text. Raises ``IntegrityError`` when there is none."""
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError:
        raise damaged("A name is not valid text.") from None
    if b"%" not in raw:
        return raw
    name = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), raw)
    if escape(name) != text:
        raise damaged(f"The name {text[:200]!r} is not escaped as it must be.")
    return name


def check_path(path: bytes) -> bytes:
    """Return the path if it may be in a backup: below the root, and no name that this package makes.

    Raises ``IntegrityError`` for any other.
    """
    if len(path) < 256 and not (
        _DOUBTFUL.search(path) or path[:1] in (b"", b".", b"/") or path.endswith(b"/")
    ):
        return path  # nearly every path: no component is empty or begins with a dot
    parts = path.split(b"/")
    if b"\0" in path or any(part in (b"", b".", b"..") for part in parts):
        raise damaged(f"{escape(path[:200])!r} is not a path below the root of a tree.")
    if len(parts) > DEPTH_LIMIT or len(path) > PATH_LIMIT:
        raise damaged(f"The path {escape(path[:200])!r}... is too deep or too long.")
    if is_own(parts[0]):
        raise damaged(f"{escape(path[:200])!r} is a name that a backup never holds.")
    return path
