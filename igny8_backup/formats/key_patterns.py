"""The patterns of object keys, by the kind of the object. :mod:`igny8_backup.formats.keys` parses keys."""

from __future__ import annotations

import re
from collections.abc import Sequence

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}"
HOST = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
ID = r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}"  # not \d, which matches the digits of every script
_STAMP = r"[0-9]{8}T[0-9]{6}Z"
_ROTATION = r"(\.r(?P<rotation>[0-9a-f]{6}))?"
_PART = r"(\.main|\.data-[0-9]{2,})?"
_PACK = rf"(?P<id>{ID})-[0-9]{{4,}}{_ROTATION}"
_SIGNATURE = r"signatures/(?P<name>[a-z]+)-[0-9a-f]{32}\.sig"

_PATTERNS = {
    "run": rf"runs/(?P<id>{ID})\.json",
    "manifest": rf"backups/(?P<id>{ID})/manifest\.json",
    "details": rf"backups/(?P<id>{ID})/details{_ROTATION}\.json\.zst(\.age)?",
    "database": rf"backups/(?P<id>{ID})/db/(?P<name>{NAME}){_ROTATION}{_PART}\.(dump|sqlite3)\.zst(\.age)?",
    "runs": rf"backups/(?P<id>{ID})/db/(?P<name>{NAME}){_ROTATION}{_PART}\.runs\.zst(\.age)?",
    "index": rf"backups/(?P<id>{ID})/files/(?P<name>{NAME}){_ROTATION}\.index\.zst(\.age)?",
    "folders": rf"backups/(?P<id>{ID})/files/(?P<name>{NAME}){_ROTATION}\.folders\.tar\.zst(\.age)?",
    "pin": rf"backups/(?P<id>{ID})/pin\.json",
    "check": rf"checks/(?P<id>{ID})/(?P<stamp>{_STAMP})-(?P<name>[a-z]+)\.json",
    "old_check": rf"backups/(?P<id>{ID})/checks/(?P<stamp>{_STAMP})-(?P<name>[a-z]+)\.json",
    "acceptance": rf"backups/(?P<id>{ID})/acceptance\.json",
    "spot": rf"backups/(?P<id>{ID})/spot\.json",
    "copy": rf"backups/(?P<id>{ID})/copy\.json",
    "release": rf"backups/(?P<id>{ID})/release\.json",
    "signature": rf"((backups|checks|removed|fleets)/(?P<id>{ID})|removed/hosts)/{_SIGNATURE}",
    "removal": rf"removed/(?P<id>{ID})/removal\.json",
    "retirement": rf"removed/hosts/(?P<host>{HOST})\.json",
    "fleet": rf"fleets/(?P<id>{ID})/fleet\.json",
    "fleet_part": rf"fleets/(?P<id>{ID})/(?P<host>{HOST})\.(?P<name>database|files)\.json",
    "fleet_restore": rf"fleets/(?P<id>{ID})/restore\.json",
    "fleet_restore_part": rf"fleets/(?P<id>{ID})/(?P<host>{HOST})\.restore\.json",
    "fleet_restored": rf"fleets/(?P<id>{ID})/(?P<host>{HOST})\.restored\.json",
    "marks": r"marks\.json",
    "damage": r"damage\.json",
    "marker": r"runs/0-storage\.json",
    "collected": r"runs/0-documents\.zst",
    "lock": rf"locks/(?P<id>{ID})\.json",
    "blocks": rf"backups/(?P<id>{ID})/blocks{_ROTATION}\.json",
    "pack": rf"packs/(?P<host>{HOST})/(?P<name>{NAME})/{_PACK}\.tar\.zst(\.age)?",
    "tree_runs": rf"packs/(?P<host>{HOST})/(?P<name>{NAME})/{_PACK}\.runs\.zst(\.age)?",
    "tree_chunk": rf"packs/(?P<host>{HOST})/(?P<name>{NAME})/{_PACK}\.chunks\.zst(\.age)?",
    "chunk": rf"packs/(?P<host>{HOST})/db\.(?P<name>{NAME})/{_PACK}\.chunks\.zst(\.age)?",
    "list": rf"packs/(?P<host>{HOST})/{_PACK}\.json",
}
KINDS = {kind: re.compile(pattern) for kind, pattern in _PATTERNS.items()}  # with the pattern of its keys
"""The pattern of the keys of each kind."""

Kinds = Sequence[tuple[str, re.Pattern[str]]]

_KINDS_IN: dict[str, Kinds] = {
    top: [item for item in KINDS.items() if top in item[1].pattern.partition("/")[0].replace("\\", "")]
    for top in (
        "runs",
        "backups",
        "packs",
        "checks",
        "removed",
        "locks",
        "fleets",
        "marks.json",
        "damage.json",
    )
}
_AFTER_ID = rf"backups/(?P<id>{ID})/"
_IN_BACKUP: dict[str, list[tuple[str, re.Pattern[str]]]] = {"si": [("signature", KINDS["signature"])]}
"""The kinds in the folder of a backup, by the first two letters after the id."""
for _kind in KINDS.items():
    if _kind[1].pattern.startswith(_AFTER_ID):
        _IN_BACKUP.setdefault(_kind[1].pattern[len(_AFTER_ID) :][:2], []).append(_kind)


def kinds_like(key: str) -> Kinds:
    """Return the few kinds that ``key`` can have, judging by its start."""
    top, _, below = key.partition("/")
    return _IN_BACKUP.get(below[24:26], ()) if top == "backups" else _KINDS_IN.get(top, ())
