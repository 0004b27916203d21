"""Build and parse backup ids and object keys.

Keys are relative to the setting ``PREFIX``. The names in a key (tree, database alias) consist of letters,
digits, ``_`` and ``-``; the name of a host may also contain dots. The settings refuse other names, so that no
key needs escaping and every key has one meaning.
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
_ID = r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}"  # not \d, which matches the digits of every script
_STAMP = r"[0-9]{8}T[0-9]{6}Z"
_NAME_RE = re.compile(_NAME)
_HOST_RE = re.compile(_HOST)
_ID_RE = re.compile(_ID)
_STAMP_FORMAT = "%Y%m%dT%H%M%SZ"

_PATTERNS = {
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
KINDS = {kind: re.compile(pattern) for kind, pattern in _PATTERNS.items()}
"""The kinds of objects, each with the pattern of its keys."""
_WRITER_RE = re.compile(rf"({BACKUPS}|{RUNS}|{PACKS}[^/]+/[^/]+/)(?P<id>{_ID})(?![0-9a-f])")


@dataclass(frozen=True, kw_only=True)
class Key:
    """A parsed object key: the kind of the object, and the id of the backup that wrote it, if any.

    ``kind`` is a key of ``KINDS``. ``name`` is the database alias, the name of the tree, or the depth of a
    check (``stored``, ``content``, ``drill``).
    """

    kind: str
    backup_id: str = ""
    name: str = ""
    host: str = ""


def stamp(moment: datetime) -> str:
    """Format an aware time in UTC, to the second: ``20261122T021500Z``."""
    return moment.astimezone(UTC).strftime(_STAMP_FORMAT)


def stamp_time(text: str) -> datetime:
    """Parse a time that :func:`stamp` formatted; return an aware time in UTC."""
    return datetime.strptime(text, _STAMP_FORMAT).replace(tzinfo=UTC)


def make_id(moment: datetime, token: str) -> str:
    """Return the id of a backup that starts at ``moment``. ``token`` is six lower-case hexadecimal digits."""
    backup_id = f"{stamp(moment)}-{token}"
    if not is_id(backup_id):
        raise ValueError(f"not a backup id: {backup_id!r}")
    return backup_id


def task_token(task_id: str) -> str:
    """Return the six digits at the end of the ids of backups that the Celery task ``task_id`` makes.

    If the broker delivers the task twice, both runs have the same token.
    """
    return hashlib.sha256(task_id.encode()).hexdigest()[:6]


def is_id(text: str) -> bool:
    """Return whether ``text`` is a well-formed backup id with a real date."""
    if not _ID_RE.fullmatch(text):
        return False
    try:
        id_time(text)
    except ValueError:
        return False
    return True


def id_time(backup_id: str) -> datetime:
    """Return when the backup started, from its id, as an aware time in UTC."""
    return stamp_time(backup_id[:16])


def is_name(text: str) -> bool:
    """Return whether ``text`` can be the name of a tree or a database alias in a key."""
    return _NAME_RE.fullmatch(text) is not None


def is_host(text: str) -> bool:
    """Return whether ``text`` can be the name of a host in a key."""
    return _HOST_RE.fullmatch(text) is not None


def run_key(backup_id: str) -> str:
    return f"{RUNS}{backup_id}.json"


def backup_folder(backup_id: str) -> str:
    return f"{BACKUPS}{backup_id}/"


def manifest_key(backup_id: str) -> str:
    return f"{BACKUPS}{backup_id}/manifest.json"


def details_key(backup_id: str, suffix: str) -> str:
    """Return the key of the details of a backup. ``suffix`` names the codecs: ``.zst`` or ``.zst.age``."""
    return f"{BACKUPS}{backup_id}/details.json{suffix}"


def database_key(backup_id: str, alias: str, kind: str, suffix: str) -> str:
    """Return the key of a database dump. ``kind`` is ``dump`` (pg_dump's custom format) or ``sqlite3``."""
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
    """Return the name of a pack (a tar archive of files): ``20261122T021500Z-7f3a9c-0001``."""
    return f"{backup_id}-{number:04d}"


def pack_key(host: str, tree: str, pack: str, suffix: str) -> str:
    return f"{pack_folder(host, tree)}{pack}.tar{suffix}"


def pack_writer(pack: str) -> str:
    """Return the id of the backup that wrote a pack (a tar archive of files), from the name of the pack."""
    return pack.rpartition("-")[0]


def pack_folder(host: str, tree: str) -> str:
    return f"{PACKS}{host}/{tree}/"


def pack_of(key: str) -> str:
    """Return the name of a pack (a tar archive of files) from its key."""
    return key.rsplit("/", 1)[-1].split(".tar", 1)[0]


def writer(key: str) -> str | None:
    """Return the id of the run that wrote the object ``key``, or ``None`` if no run did.

    This works also for partial files, and for kinds of objects that this release does not know.
    """
    match = _WRITER_RE.match(key)
    return match["id"] if match and is_id(match["id"]) else None


def parse(key: str) -> Key | None:
    """Parse an object key. Returns ``None`` if this release does not write such keys."""
    for kind, pattern in KINDS.items():
        if match := pattern.fullmatch(key):
            found = {"id": "", "name": "", "host": "", **match.groupdict()}
            if found["id"] and not is_id(found["id"]):
                return None
            return Key(kind=kind, backup_id=found["id"], name=found["name"], host=found["host"])
    return None
