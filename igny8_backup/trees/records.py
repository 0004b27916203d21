"""What the index holds of one thing in a tree, and its JSON."""

from __future__ import annotations

import base64
import binascii
import os
import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from igny8_backup.errors import IntegrityError
from igny8_backup.trees.names import check_path, escape, order, unescape
from igny8_backup.trees.scan import Entry
from igny8_backup.trees.xattrs import SIZE_LIMIT, Xattrs, is_kept

Kind: TypeAlias = Literal["file", "dir", "symlink", "hardlink"]

_KINDS = frozenset(get_args(Kind))
_MODE = re.compile("[0-7]{4}")
_SHA256 = re.compile("[0-9a-f]{64}")
_PACK = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One thing in a backed-up tree.

    ``mode`` holds the permission bits, times are nanoseconds since the epoch. ``sha256``
    (hexadecimal, of the contents as stored) and ``pack`` (the name of the pack that holds them)
    belong to files. ``target`` is where a symlink points, or the path in the tree of the file that
    a hard link is another name of; that file comes earlier.
    """

    path: bytes
    kind: Kind
    mode: int
    uid: int
    gid: int
    user: str
    group: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    sha256: str = ""
    pack: str = ""
    target: bytes = b""
    xattrs: Xattrs = ()


def record_of(
    entry: Entry, kind: Kind, *, target: bytes = b"", xattrs: Xattrs = (), sha256: str = "", pack: str = ""
) -> Record:
    """The record of what a scan saw."""
    return Record(
        path=entry.path,
        kind=kind,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        user=entry.user,
        group=entry.group,
        size=entry.size,
        mtime_ns=entry.mtime_ns,
        ctime_ns=entry.ctime_ns,
        inode=entry.inode,
        sha256=sha256,
        pack=pack,
        target=target,
        xattrs=xattrs,
    )


def to_json(record: Record) -> dict[str, Any]:
    """The record as a JSON object; what does not belong to its kind is absent."""
    fields: dict[str, Any] = {
        "path": escape(record.path),
        "kind": record.kind,
        "mode": f"{record.mode:04o}",
        "uid": record.uid,
        "gid": record.gid,
        "user": record.user,
        "group": record.group,
        "size": record.size,
        "mtime_ns": record.mtime_ns,
        "ctime_ns": record.ctime_ns,
        "inode": record.inode,
    }
    if record.kind == "file":
        fields["sha256"] = record.sha256
        fields["pack"] = record.pack
    elif record.kind != "dir":
        fields["target"] = escape(record.target)
    if record.xattrs:
        fields["xattrs"] = {
            escape(os.fsencode(name)): base64.b64encode(value).decode("ascii")
            for name, value in record.xattrs
        }
    return fields


def from_json(fields: object) -> Record:
    """The record of such an object; ``IntegrityError`` when it is not one that ``to_json`` makes."""
    if not isinstance(fields, dict):
        raise IntegrityError("A record of the index is not a JSON object.")
    left = dict(fields)
    kind = _text(left, "kind")
    if kind not in _KINDS:
        raise IntegrityError(f"The index holds a record of the unknown kind {kind[:50]!r}.")
    path = unescape(_text(left, "path"))
    record = Record(
        path=path if path == b"" and kind == "dir" else check_path(path),
        kind=kind,  # type: ignore[arg-type]  # one of _KINDS
        mode=int(_text(left, "mode", _MODE), 8),
        uid=_number(left, "uid", 0, 2**32 - 2),  # 2**32 - 1 tells chown(2) to change nothing
        gid=_number(left, "gid", 0, 2**32 - 2),
        user=_text(left, "user"),
        group=_text(left, "group"),
        size=_number(left, "size", 0, 2**63 - 1),
        mtime_ns=_number(left, "mtime_ns", -(2**63) * 10**9, 2**63 * 10**9 - 1),
        ctime_ns=_number(left, "ctime_ns", -(2**63) * 10**9, 2**63 * 10**9 - 1),
        inode=_number(left, "inode", 0, 2**64 - 1),
        sha256=_text(left, "sha256", _SHA256) if kind == "file" else "",
        pack=_text(left, "pack", _PACK) if kind == "file" else "",
        target=_target(left, kind, path) if kind in ("symlink", "hardlink") else b"",
        xattrs=_xattrs(left),
    )
    if left:
        raise IntegrityError(f"A record of the index has fields that a {kind} does not have.")
    return record


def _text(fields: dict[str, Any], key: str, shape: re.Pattern[str] | None = None) -> str:
    value = fields.pop(key, None)
    if not isinstance(value, str) or (shape is not None and not shape.fullmatch(value)):
        raise IntegrityError(f"A record of the index has no good value of {key!r}.")
    return value


def _number(fields: dict[str, Any], key: str, least: int, most: int) -> int:
    value = fields.pop(key, None)
    if type(value) is not int or not least <= value <= most:
        raise IntegrityError(f"A record of the index has no good value of {key!r}.")
    return value


def _target(fields: dict[str, Any], kind: str, path: bytes) -> bytes:
    target = unescape(_text(fields, "target"))
    if kind == "hardlink":
        if order(check_path(target)) >= order(path):
            raise IntegrityError(f"The hard link {escape(path)[:200]!r} comes before the file it belongs to.")
    elif not target or b"\0" in target or len(target) > 4095:  # PATH_MAX with its NUL
        raise IntegrityError(f"The symlink {escape(path)[:200]!r} has an impossible target.")
    return target


def _xattrs(fields: dict[str, Any]) -> Xattrs:
    given = fields.pop("xattrs", {})
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise IntegrityError("A record of the index has no good value of 'xattrs'.")
    found: list[tuple[str, bytes]] = []
    for key, value in given.items():
        name = os.fsdecode(unescape(key))
        try:
            found.append((name, base64.b64decode(value, validate=True)))
        except binascii.Error:
            raise IntegrityError("An extended attribute in the index is not base64.") from None
        if not is_kept(name) or "\0" in name or sum(len(n) + len(v) for n, v in found) > SIZE_LIMIT:
            raise IntegrityError("The index holds an extended attribute that a backup never holds.")
    return tuple(found)
