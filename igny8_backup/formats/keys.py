"""Build and parse backup ids and object keys, which are relative to the setting ``PREFIX``.

The names in a key (tree, database alias) consist of letters, digits, ``_`` and ``-``; the name of a host may
also contain dots. The settings refuse other names, so that every key has one meaning without escaping.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from igny8_backup.formats.key_patterns import HOST, ID, NAME, kinds_like

RUNS, BACKUPS, PACKS, CHECKS = "runs/", "backups/", "packs/", "checks/"
REMOVED, RETIRED, LOCKS = "removed/", "removed/hosts/", "locks/"
FLEETS = "fleets/"
MARKS, DAMAGE, MARKER = "marks.json", "damage.json", f"{RUNS}0-storage.json"  # sorts before the run records
COLLECTED = f"{RUNS}0-documents.zst"

TREE_PACKS = frozenset({"pack", "tree_runs", "tree_chunk"})  # in the folder for the packs of a tree
SHARED = TREE_PACKS | {"chunk", "list"}  # several backups of a host can share these
ANNOTATIONS = frozenset({"pin", "old_check", "acceptance", "release", "spot", "copy"})  # may be overwritten
_ID_RE = re.compile(ID)
_STAMP_RE = re.compile(r"[0-9]{8}T(?!24)[0-9]{6}Z")  # Python 3.13 reads 24:00 as the next day
_WRITER_RE = re.compile(rf"({BACKUPS}|{RUNS}|{PACKS}[^/]+/([^/]+/)?)(?P<id>{ID})(?![0-9a-f])")


class Key(NamedTuple):
    """A parsed object key: the kind of the object, and the id of the backup that wrote it, if any.

    ``kind`` is a key of ``key_patterns.KINDS``. ``name`` is a database alias, the name of a tree, the depth
    of a check, or the kind of a signed document. ``rotation`` is the token of a rotation of recipients, if
    any.
    """

    kind: str
    backup_id: str = ""
    name: str = ""
    host: str = ""
    rotation: str = ""


def stamp(moment: datetime) -> str:
    """Format an aware time in UTC, to the second: ``20261122T021500Z``."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def stamp_time(text: str) -> datetime:
    """Parse a time that :func:`stamp` formatted; return an aware time in UTC. Raises ``ValueError``."""
    if not _STAMP_RE.fullmatch(text):
        raise ValueError(f"not a time: {text!r}")
    return datetime.fromisoformat(text)  # ten times as fast as strptime


def make_id(moment: datetime, token: str) -> str:
    """Return the id of a backup that starts at ``moment``. ``token`` is six lower-case hexadecimal digits."""
    backup_id = f"{stamp(moment)}-{token}"
    if not is_id(backup_id):
        raise ValueError(f"not a backup id: {backup_id!r}")
    return backup_id


def task_token(task_id: str) -> str:
    """Return the ``token`` for :func:`make_id` in a Celery task: the same for each delivery of the task."""
    return hashlib.sha256(task_id.encode()).hexdigest()[:6]


@lru_cache(maxsize=4096)
def is_id(text: str) -> bool:
    """Return whether ``text`` is a well-formed backup id with a real date."""
    try:
        return _ID_RE.fullmatch(text) is not None and bool(id_time(text))
    except ValueError:
        return False


def id_time(backup_id: str) -> datetime:
    """Return when the backup started, from its id, as an aware time in UTC."""
    return stamp_time(backup_id[:16])


def is_name(text: str) -> bool:
    """Return whether ``text`` can be the name of a tree or a database alias in a key."""
    return re.fullmatch(NAME, text) is not None


def is_host(text: str) -> bool:
    """Return whether ``text`` can be the name of a host in a key."""
    return re.fullmatch(HOST, text) is not None


def run_key(backup_id: str) -> str:
    return f"{RUNS}{backup_id}.json"


def lock_key(claim_id: str) -> str:
    """Return the key of the object with which a run claims the lock in the storage (``locks.storage``)."""
    return f"{LOCKS}{claim_id}.json"


def backup_folder(backup_id: str) -> str:
    return f"{BACKUPS}{backup_id}/"


def manifest_key(backup_id: str) -> str:
    return f"{BACKUPS}{backup_id}/manifest.json"


def details_key(backup_id: str, suffix: str) -> str:
    """Return the key of the details of a backup. ``suffix`` names the codecs: ``.zst`` or ``.zst.age``."""
    return f"{BACKUPS}{backup_id}/details.json{suffix}"


def database_key(backup_id: str, alias: str, kind: str, suffix: str) -> str:
    """Return the key of a dump; ``kind`` is ``dump``, ``main.dump``, ``data-01.dump`` ... or ``sqlite3``."""
    return f"{BACKUPS}{backup_id}/db/{alias}.{kind}{suffix}"


def index_key(backup_id: str, tree: str, suffix: str) -> str:
    return f"{BACKUPS}{backup_id}/files/{tree}.index{suffix}"


def folders_key(backup_id: str, tree: str, suffix: str) -> str:
    return f"{BACKUPS}{backup_id}/files/{tree}.folders.tar{suffix}"


def pin_key(backup_id: str) -> str:
    return f"{BACKUPS}{backup_id}/pin.json"


def acceptance_key(backup_id: str) -> str:
    return f"{BACKUPS}{backup_id}/acceptance.json"


def spot_key(backup_id: str) -> str:
    return f"{BACKUPS}{backup_id}/spot.json"


def release_key(backup_id: str) -> str:
    return f"{BACKUPS}{backup_id}/release.json"


def removal_key(backup_id: str) -> str:
    return f"{REMOVED}{backup_id}/removal.json"


def retirement_key(host: str) -> str:
    return f"{RETIRED}{host}.json"


def fleet_folder(fleet_id: str) -> str:
    return f"{FLEETS}{fleet_id}/"


def fleet_key(fleet_id: str) -> str:
    """Return the key of the record of a fleet backup: a backup that several hosts make together."""
    return f"{fleet_folder(fleet_id)}fleet.json"


def fleet_part_key(fleet_id: str, host: str, kind: str) -> str:
    """Return the key of the record of one host's part; ``kind`` is ``database`` or ``files``."""
    return f"{fleet_folder(fleet_id)}{host}.{kind}.json"


def fleet_restore_key(restore_id: str) -> str:
    """Return the key of the record of a fleet restore: a restore or an undo on several hosts together."""
    return f"{fleet_folder(restore_id)}restore.json"


def fleet_restore_part_key(restore_id: str, host: str) -> str:
    """Return the key under which a host records how far its part of a fleet restore has come."""
    return f"{fleet_folder(restore_id)}{host}.restore.json"


def fleet_restored_key(fleet_id: str, host: str) -> str:
    """Return the key under which a host records that it has restored its part of the fleet backup."""
    return f"{fleet_folder(fleet_id)}{host}.restored.json"


def checks_folder(backup_id: str) -> str:
    return f"{CHECKS}{backup_id}/"  # outlives the folder of the backup


def check_key(backup_id: str, moment: datetime, depth: str) -> str:
    return f"{checks_folder(backup_id)}{stamp(moment)}-{depth}.json"


def signature_key(key: str, kind: str, document: bytes) -> str:
    """Return the key of the signature of ``document``, one of the versions of the object ``key``."""
    digest = hashlib.sha256(document).hexdigest()[:32]
    return f"{key.rpartition('/')[0]}/signatures/{kind}-{digest}.sig"


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


def pack_number(pack: str) -> int:
    """Return the number of a pack (counted from 1 in each run) from the name of the pack."""
    return int(pack.rpartition("-")[2])


def pack_of(key: str) -> str:
    """Return the name of a pack from its key."""
    return key.rsplit("/", 1)[-1].partition(".")[0]


def writer(key: str) -> str | None:
    """Return the id of the run that wrote the object ``key``, or ``None`` if no run did.

    This also works for partial files, and for kinds of objects that this release does not know.
    """
    return match["id"] if (match := _WRITER_RE.match(key)) and is_id(match["id"]) else None


@lru_cache(maxsize=4096)
def parse(key: str) -> Key | None:
    """Parse an object key. Returns ``None`` if this release does not know such keys.

    The results for recent keys are kept, because each key in a manifest is checked several times.
    """
    for kind, pattern in kinds_like(key):
        if match := pattern.fullmatch(key):
            found = match.groupdict("").get
            backup_id = found("id", "")
            if backup_id and not is_id(backup_id):
                return None
            return Key(kind, backup_id, found("name", ""), found("host", ""), found("rotation", ""))
    return None
