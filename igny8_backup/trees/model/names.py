"""File names as bytes: their order, their escaped form in text, and names that this package makes.

A file name on a POSIX system is any bytes except ``/`` and NUL. In JSON and in messages a name is UTF-8, in
which ``%`` and each byte that is not valid UTF-8 are percent-escaped. Every name has exactly one escaped
form: that of ``b"caf\\xe9 50%"`` is ``caf%E9 50%25``.
"""

from __future__ import annotations

import re

from igny8_backup.trees.model.damage import damaged

_OWN = re.compile(
    rb"\.(igny8_backup-side|before)-\d{8}T\d{6}Z"
    rb"|\.igny8_backup-(moving-(\d{8}T\d{6}Z.*-)?\d+|trial-[0-9a-f]{16})",
    re.DOTALL,
)

LOST_AND_FOUND = b"lost+found"
"""The folder in the root of an ext file system in which fsck(8) puts what it finds."""

DEPTH_LIMIT = 500
"""Largest number of nested folders. A scan needs a descriptor for each, and a process usually has 1,024."""

PATH_LIMIT = DEPTH_LIMIT * 256
"""Largest number of bytes in a path: ``DEPTH_LIMIT`` names of 255 bytes, and slashes."""

_DOUBTFUL = re.compile(rb"/[./]|\0")
_BROKEN = re.compile("[\udc80-\udcff]")
_ESCAPED = re.compile(b"%([0-9A-F]{2})")


def staging_name(stamp: str) -> str:
    """Return the name of the staging folder, in which a restore builds the new tree.

    ``stamp`` identifies the restore.
    """
    return f".igny8_backup-side-{stamp}"


def previous_name(stamp: str) -> str:
    """Return the name of the folder that holds the previous tree (the one that was live) after a restore.

    ``stamp`` identifies the restore.
    """
    return f".before-{stamp}"


def is_own(name: bytes) -> bool:
    """Return whether ``name`` has the form of the names that this package gives to folders.

    Users of the application can give such names too, so the form alone proves nothing.
    """
    return _OWN.fullmatch(name) is not None


def is_reserved(name: bytes) -> bool:
    """Return whether backups and swaps might ignore a folder ``name`` in the root of a tree.

    ``fs.left_alone`` decides whether they do.
    """
    return name == LOST_AND_FOUND or is_own(name)


def order(path: bytes) -> bytes:
    """Return a sort key: paths are ordered by components, so the contents of a folder follow the folder.

    NUL occurs in no name and sorts before every other byte, so comparing keys compares lists of components.
    """
    return path.replace(b"/", b"\0")


def escape(name: bytes) -> str:
    """Return a name, path or link target as text: ``%25`` for ``%``, ``%E9`` for a byte that is not UTF-8."""
    text = name.replace(b"%", b"%25").decode("utf-8", "surrogateescape")
    if text.isascii():
        return text
    return _BROKEN.sub(lambda match: f"%{ord(match[0]) - 0xDC00:02X}", text)


def unescape(text: str) -> bytes:
    """Return the name whose escaped form is ``text``. Raises ``IntegrityError`` if no name has this form."""
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError:
        raise damaged("A name is not valid text.") from None
    if b"%" not in raw:
        return raw
    name = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), raw)
    if escape(name) != text:
        raise damaged(f"The name {text[:200]!r} is wrongly escaped.")
    return name


def check_path(path: bytes) -> bytes:
    """Return ``path`` if a backup can hold such a path. Otherwise raise ``IntegrityError``.

    The path must be below the root, and neither too deep nor too long.
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
    return path
