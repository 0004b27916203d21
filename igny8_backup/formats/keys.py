"""Backup ids and object keys: the one grammar, made and parsed here.

Keys are relative to ``PREFIX``. A name in a key (host, tree, database alias) is made of letters, digits,
``_`` and ``-``; a host may hold dots as well. Names outside this grammar are refused by the settings, so that
no key has to be escaped and none can be read in two ways.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime

RUNS = "runs/"
BACKUPS = "backups/"
PACKS = "packs/"
MARKS = "marks.json"

_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}"
_HOST = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
_ID = r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}"  # not \d, which knows the digits of every script
_STAMP = r"[0-9]{8}T[0-9]{6}Z"
_NAME_RE = re.compile(_NAME)
_HOST_RE = re.compile(_HOST)
_ID_RE = re.compile(_ID)
_STAMP_FORMAT = "%Y%m%dT%H%M%SZ"

_KINDS = {
    "run": rf"runs/(?P<id>{_ID})\.json",
    "manifest": rf"backups/(?P<id>{_ID})/manifest\.json",
    "details": rf"backups/(?P<id>{_ID})/details\.json\.zst(\.age)?",
    "database": rf"backups/(?P<id>{_ID})/db/(?P<name>{_NAME})\.(dump|sqlite3)\.zst(\.age)?",
    "index": rf"backups/(?P<id>{_ID})/files/(?P<name>{_NAME})\.index\.zst(\.age)?",
    "folders": rf"backups/(?P<id>{_ID})/files/(?P<name>{_NAME})\.folders\.tar\.zst(\.age)?",
    "pin": rf"backups/(?P<id>{_ID})/pin\.json",
    "check": rf"backups/(?P<id>{_ID})/checks/(?P<stamp>{_STAMP})-(?P<name>[a-z]+)\.json",
    "marks": r"marks\.json",
    "pack": rf"packs/(?P<host>{_HOST})/(?P<name>{_NAME})/(?P<id>{_ID})-[0-9]{{4,}}\.tar\.zst(\.age)?",
}
_WRITER_RE = re.compile(rf"({BACKUPS}|{RUNS}|{PACKS}[^/]+/[^/]+/)(?P<id>{_ID})(?![0-9a-f])")
KINDS = frozenset(_KINDS)
_KIND_RES = {kind: re.compile(pattern) for kind, pattern in _KINDS.items()}


@dataclass(frozen=True, kw_only=True)
class Key:
    """What a key says of its object: its kind and the backup that wrote it; the ``name`` of a check is its
    depth. Marks belong to no backup."""

    kind: str
    backup_id: str = ""
    name: str = ""
    host: str = ""


def stamp(moment: datetime) -> str:
    """``20261122T021500Z``: an aware ``moment`` in UTC, to the second."""
    return moment.astimezone(UTC).strftime(_STAMP_FORMAT)


def stamp_time(text: str) -> datetime:
    """The moment of a stamp, aware, in UTC: the inverse of :func:`stamp`."""
    return datetime.strptime(text, _STAMP_FORMAT).replace(tzinfo=UTC)


def make_id(moment: datetime, token: str) -> str:
    """The id of a backup that starts at ``moment``; ``token`` is six lower-case hexadecimal digits."""
    backup_id = f"{stamp(moment)}-{token}"
    if not is_id(backup_id):
        raise ValueError(f"not a backup id: {backup_id!r}")
    return backup_id


def task_token(task_id: str) -> str:
    """The token of the backup that the queued task ``task_id`` makes, the same at every delivery."""
    return hashlib.sha256(task_id.encode()).hexdigest()[:6]


def is_id(text: str) -> bool:
    """Whether ``text`` is a well-formed backup id with a real date."""
    if not _ID_RE.fullmatch(text):
        return False
    try:
        id_time(text)
    except ValueError:
        return False
    return True


def id_time(backup_id: str) -> datetime:
    """When the backup started, aware, in UTC."""
    return stamp_time(backup_id[:16])


def is_name(text: str) -> bool:
    """Whether ``text`` may name a tree or a database alias in a key."""
    return _NAME_RE.fullmatch(text) is not None


def is_host(text: str) -> bool:
    """Whether ``text`` may name a host in a key."""
    return _HOST_RE.fullmatch(text) is not None


def run_key(backup_id: str) -> str:
    return f"{RUNS}{backup_id}.json"


def backup_folder(backup_id: str) -> str:
    return f"{BACKUPS}{backup_id}/"


def manifest_key(backup_id: str) -> str:
    return f"{BACKUPS}{backup_id}/manifest.json"


def details_key(backup_id: str, suffix: str) -> str:
    """``suffix`` is the codec chain's: ``.zst`` or ``.zst.age``; so below."""
    return f"{BACKUPS}{backup_id}/details.json{suffix}"


def database_key(backup_id: str, alias: str, kind: str, suffix: str) -> str:
    """``kind`` is ``dump`` (pg_dump's custom format) or ``sqlite3`` (a database file)."""
    return f"{BACKUPS}{backup_id}/db/{alias}.{kind}{suffix}"


def index_key(backup_id: str, tree: str, suffix: str) -> str:
    return f"{BACKUPS}{backup_id}/files/{tree}.index{suffix}"


def folders_key(backup_id: str, tree: str, suffix: str) -> str:
    return f"{BACKUPS}{backup_id}/files/{tree}.folders.tar{suffix}"


def pin_key(backup_id: str) -> str:
    return f"{BACKUPS}{backup_id}/pin.json"


def check_key(backup_id: str, moment: datetime, depth: str) -> str:
    return f"{BACKUPS}{backup_id}/checks/{stamp(moment)}-{depth}.json"


def pack_name(backup_id: str, number: int) -> str:
    """``20261122T021500Z-7f3a9c-0001``: what an index record names."""
    return f"{backup_id}-{number:04d}"


def pack_key(host: str, tree: str, pack: str, suffix: str) -> str:
    return f"{pack_folder(host, tree)}{pack}.tar{suffix}"


def pack_writer(pack: str) -> str:
    """The id of the backup that wrote the pack of this name: the inverse of :func:`pack_name`."""
    return pack.rpartition("-")[0]


def pack_folder(host: str, tree: str) -> str:
    return f"{PACKS}{host}/{tree}/"


def pack_of(key: str) -> str:
    """The pack's name in a pack's key: the inverse of :func:`pack_key`."""
    return key.rsplit("/", 1)[-1].split(".tar", 1)[0]


def writer(key: str) -> str | None:
    """The id of the run that wrote under ``key``, be it something half written or of a kind not known here;
    ``None`` where the key tells of none."""
    match = _WRITER_RE.match(key)
    return match["id"] if match and is_id(match["id"]) else None


def parse(key: str) -> Key | None:
    """What ``key`` names, or ``None`` where nothing of ours has such a key."""
    for kind, pattern in _KIND_RES.items():
        if match := pattern.fullmatch(key):
            found = {name: text or "" for name, text in match.groupdict().items()}
            if "id" in found and not is_id(found["id"]):
                return None
            return Key(
                kind=kind,
                backup_id=found.get("id", ""),
                name=found.get("name", ""),
                host=found.get("host", ""),
            )
    return None
