"""The index record of a file, folder or link, and its JSON."""

from __future__ import annotations

import base64
import binascii
import functools
import json
import os
import re
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from igny8_backup.trees.model.damage import damaged
from igny8_backup.trees.model.entries import Entry
from igny8_backup.trees.model.names import check_path, escape, order, unescape
from igny8_backup.trees.model.owners import Owner
from igny8_backup.trees.model.xattrs import SIZE_LIMIT, Xattrs, is_kept

Kind: TypeAlias = Literal["file", "dir", "symlink", "hardlink"]

_KINDS = frozenset(get_args(Kind))
_MODE = re.compile("[0-7]{4}")
_SHA256 = re.compile("[0-9a-f]{64}")
_PACK = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,127}")
quoted = json.encoder.encode_basestring
"""Return a string quoted as ``JSONEncoder(ensure_ascii=False)`` quotes it, three times as fast."""


class Record(NamedTuple):
    """One file, folder or link of a backed-up tree. (A named tuple is cheap, and there may be millions.)

    ``mode`` holds the permission bits; times are nanoseconds since the epoch. Only files have ``sha256``
    (hexadecimal, of the contents in the pack) and ``pack`` (the name of the tar that holds the contents).
    ``member`` is the path of the file in the pack if that is another one: the file was renamed or copied.
    ``target`` is where a symlink points; for a hard link it is the path of the first name of the same file.
    ``racy``: the file might have changed after it was read without a change of its times, so the next backup
    must read the file again.
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
    racy: bool = False
    member: bytes = b""

    @property
    def stored_path(self) -> bytes:
        """The path of a file in its pack."""
        return self.member or self.path

    @property
    def owner(self) -> Owner:
        """The recorded user and group."""
        return Owner(self.uid, self.gid, self.user, self.group)


def record_of(
    entry: Entry,
    kind: Kind,
    *,
    target: bytes = b"",
    xattrs: Xattrs = (),
    sha256: str = "",
    pack: str = "",
    racy: bool = False,
    member: bytes = b"",
) -> Record:
    """Return the index record of an entry that a walk found. Keyword arguments are fields of ``Record``."""
    found = entry.status
    status = found.size, found.mtime_ns, found.ctime_ns, found.inode
    owner = entry.owner
    return Record(entry.path, kind, entry.mode, *owner, *status, sha256, pack, target, xattrs, racy, member)


def to_line(record: Record) -> bytes:
    """Return the record as a line of JSON, without the fields that its kind does not have.

    The line begins with the fields from ``lstat``, always in the same order, because
    ``lines.unchanged_prefixes`` makes the same beginnings to compare lines.
    """
    text = (
        f'{{"path":{quoted(escape(record.path))}{access(record.kind, record.mode, record.owner)}'
        f',"size":{record.size},"mtime_ns":{record.mtime_ns},"ctime_ns":{record.ctime_ns},"inode":{record.inode}'
    )
    if record.kind == "file":
        racy = ',"racy":true' if record.racy else ""
        member = f',"member":{quoted(escape(record.member))}' if record.member else ""
        text += f'{racy},"sha256":"{record.sha256}","pack":"{record.pack}"{member}'
    elif record.kind != "dir":
        text += f',"target":{quoted(escape(record.target))}'
    if record.xattrs:
        pairs = (
            f'{quoted(escape(os.fsencode(name)))}:"{base64.b64encode(value).decode("ascii")}"'
            for name, value in record.xattrs
        )
        text += f',"xattrs":{{{",".join(pairs)}}}'
    return f"{text}}}\n".encode()


def to_json(record: Record) -> dict[str, Any]:
    """Return the record as a JSON object."""
    fields: dict[str, Any] = json.loads(to_line(record))
    return fields


@functools.lru_cache(maxsize=256)
def access(kind: Kind, mode: int, owner: Owner) -> str:
    """Return the part of an index line with kind, mode and owner, which is the same for many files."""
    return (
        f',"kind":"{kind}","mode":"{mode:04o}","uid":{owner.uid},"gid":{owner.gid}'
        f',"user":{quoted(owner.user)},"group":{quoted(owner.group)}'
    )


_PLAIN = re.compile(
    r'\{"path":"([^"\\%\x00-\x1f]+)","kind":"file","mode":"([0-7]{4})","uid":([0-9]{1,9}),"gid":([0-9]{1,9})'
    r',"user":"([^"\\\x00-\x1f]*)","group":"([^"\\\x00-\x1f]*)","size":([0-9]{1,18})'
    r',"mtime_ns":(-?[0-9]{1,19}),"ctime_ns":(-?[0-9]{1,19}),"inode":([0-9]{1,19})(,"racy":true)?'
    r',"sha256":"([0-9a-f]{64})","pack":"([0-9A-Za-z][0-9A-Za-z_-]{0,127})"(?:,"member":"([^"\\%\x00-\x1f]+)")?\}'
)


def from_plain_line(line: bytes) -> Record | None:
    """Parse an index line (without newline) of a regular file without extended attributes.

    One regular expression parses and checks the line, four times as fast as JSON. Returns None for every
    other line: parse it as JSON and call ``from_json``. Raises ``IntegrityError`` for an impossible path.
    """
    try:
        found = _PLAIN.fullmatch(line.decode())
    except UnicodeDecodeError:
        return None
    if found is None:
        return None
    path, mode, uid, gid, user, group, *numbers, racy, sha256, pack, member = found.groups()
    size, mtime_ns, ctime_ns, inode = map(int, numbers)
    owner, status = (int(uid), int(gid), user, group), (size, mtime_ns, ctime_ns, inode)
    checked = check_path(path.encode())
    stored = check_path(member.encode()) if member else b""
    mode_bits, is_racy = int(mode, 8), racy is not None
    return Record(checked, "file", mode_bits, *owner, *status, sha256, pack, racy=is_racy, member=stored)


def from_json(fields: object) -> Record:
    """Return the record in a JSON object. Raises ``IntegrityError`` for one that ``to_line`` never writes."""
    if not isinstance(fields, dict):
        raise damaged("A record of the index is not a JSON object.")
    fields = dict(fields)
    kind = _text(fields, "kind")
    if kind not in _KINDS:
        raise damaged(f"The index holds a record of the unknown kind {kind[:50]!r}.")
    path = unescape(_text(fields, "path"))
    record = Record(
        path=path if path == b"" and kind == "dir" else check_path(path),
        kind=kind,  # type: ignore[arg-type]  # one of _KINDS
        mode=int(_text(fields, "mode", _MODE), 8),
        uid=_number(fields, "uid", 0, 2**32 - 2),  # chown(2) changes nothing for 2**32 - 1
        gid=_number(fields, "gid", 0, 2**32 - 2),
        user=_text(fields, "user"),
        group=_text(fields, "group"),
        size=_number(fields, "size", 0, 2**63 - 1),
        mtime_ns=_number(fields, "mtime_ns", -(2**63) * 10**9, 2**63 * 10**9 - 1),
        ctime_ns=_number(fields, "ctime_ns", -(2**63) * 10**9, 2**63 * 10**9 - 1),
        inode=_number(fields, "inode", 0, 2**64 - 1),
        sha256=_text(fields, "sha256", _SHA256) if kind == "file" else "",
        pack=_text(fields, "pack", _PACK) if kind == "file" else "",
        target=_target(fields, kind, path) if kind in ("symlink", "hardlink") else b"",
        xattrs=_xattrs(fields),
        racy=kind == "file" and fields.pop("racy", False) is True,
        member=check_path(unescape(_text(fields, "member")))
        if kind == "file" and "member" in fields
        else b"",
    )
    if fields:
        raise damaged(f"A record of the index has fields that a {kind} does not have.")
    return record


def _text(fields: dict[str, Any], key: str, shape: re.Pattern[str] | None = None) -> str:
    value = fields.pop(key, None)
    if not isinstance(value, str) or (shape is not None and not shape.fullmatch(value)):
        raise damaged(f"A record of the index has no valid value of {key!r}.")
    return value


def _number(fields: dict[str, Any], key: str, least: int, most: int) -> int:
    value = fields.pop(key, None)
    if type(value) is not int or not least <= value <= most:
        raise damaged(f"A record of the index has no valid value of {key!r}.")
    return value


def _target(fields: dict[str, Any], kind: str, path: bytes) -> bytes:
    target = unescape(_text(fields, "target"))
    if kind == "hardlink":
        if order(check_path(target)) >= order(path):
            raise damaged(f"The hard link {escape(path)[:200]!r} comes before the file that it links to.")
    elif not target or b"\0" in target or len(target) > 4095:  # PATH_MAX with its NUL
        raise damaged(f"The symlink {escape(path)[:200]!r} has an impossible target.")
    return target


def _xattrs(fields: dict[str, Any]) -> Xattrs:
    given = fields.pop("xattrs", {})
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise damaged("A record of the index has no valid value of 'xattrs'.")
    found: list[tuple[str, bytes]] = []
    for key, value in given.items():
        name = os.fsdecode(unescape(key))
        try:
            found.append((name, base64.b64decode(value, validate=True)))
        except binascii.Error:
            raise damaged("An extended attribute in the index is not base64.") from None
        if not is_kept(name) or "\0" in name or sum(len(n) + len(v) for n, v in found) > SIZE_LIMIT:
            raise damaged("The index holds an extended attribute that a backup never holds.")
    return tuple(found)
