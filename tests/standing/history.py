"""Build manifests and annotations of backups that exist nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from igny8_backup.formats import keys
from igny8_backup.formats.acceptance import Acceptance, AcceptedPart
from igny8_backup.formats.comparison import Expected
from igny8_backup.formats.documents.annotations import (
    SCHEMA,
    STORED,
    Annotations,
    Check,
    Damage,
)
from igny8_backup.formats.manifest import COMPLETE, Manifest
from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.retention.policy import Part
from igny8_backup.standing import DAMAGED, SAFETY, SUSPECT, Standings, judge

START = datetime(2026, 11, 1, tzinfo=UTC)
NOW = datetime(2026, 12, 1, tzinfo=UTC)
HOST = "web-1"
DATABASE = Part(host=HOST, kind="database", name="default")
SITES = Part(host=HOST, kind="files", name="sites")
LOGS = Part(host=HOST, kind="files", name="logs")


def stored(key: str, raw_bytes: int = 1) -> StoredObject:
    return StoredObject(key=key, stored_bytes=1, raw_bytes=raw_bytes, sha256="0" * 64, codecs=("zstd",))


def id_of(night: int) -> str:
    return keys.make_id(START + timedelta(days=night), f"{night:06x}")


def pack(night: int, number: int = 1, tree: str = "sites") -> str:
    """The key of a pack that the backup of this night wrote."""
    return keys.pack_key(HOST, tree, keys.pack_name(id_of(night), number), ".zst")


def tree(
    night: int,
    *,
    files: int = 10,
    size: int = 1000,
    packs: tuple[str, ...] = (),
    name: str = "sites",
    role: str = "sites",
    state: str = COMPLETE,
    expected: Expected | None = None,
) -> TreePart:
    moment = START + timedelta(days=night)
    return TreePart(
        name=name,
        role=role,
        state=state,
        started=moment,
        finished=moment,
        index=stored(keys.index_key(id_of(night), name, ".zst")),
        folders=stored(keys.folders_key(id_of(night), name, ".zst")),
        packs=tuple(map(stored, packs)),
        files=files,
        bytes=size,
        expected=expected,
    )


def database(
    night: int, *, rows: int | None = None, size: int = 1000, expected: Expected | None = None
) -> DatabasePart:
    moment = START + timedelta(days=night)
    key = keys.database_key(id_of(night), "default", "dump", ".zst")
    return DatabasePart(
        alias="default",
        engine="postgresql",
        state=COMPLETE,
        started=moment,
        finished=moment,
        object=stored(key, size),
        rows=rows,
        expected=expected,
    )


def backup(night: int, *parts: DatabasePart | TreePart, safety: bool = False) -> Manifest:
    moment = START + timedelta(days=night)
    return Manifest(
        schema=1,
        id=id_of(night),
        host=HOST,
        environment="test",
        label="",
        started=moment,
        finished=moment,
        requested=(),
        software={},
        details=stored(keys.details_key(id_of(night), ".zst")),
        databases=tuple(part for part in parts if isinstance(part, DatabasePart)),
        trees=tuple(part for part in parts if isinstance(part, TreePart)),
        safety=safety,
    )


def check(
    night: int,
    day: float,
    *,
    damage: Mapping[str, str] | None = None,
    sound: tuple[str, ...] | None = (),
    depth: str = STORED,
    sample: int = 100,
) -> Check:
    """A check of the backup of ``night``, made ``day`` days after the first night."""
    moment = START + timedelta(days=day)
    return Check(
        schema=SCHEMA,
        id=id_of(night),
        depth=depth,
        started=moment,
        finished=moment,
        sample=sample,
        objects=5,
        read=5 if sound is None else len(sound),
        bytes=1,
        damage=tuple(Damage(key=key, kind=kind) for key, kind in (damage or {}).items()),
        sound=sound,
    )


def accepted(night: int, *parts: Part) -> Acceptance:
    found = tuple(
        AcceptedPart(kind=part.kind, name=part.name, reason="moved away", accepted=NOW) for part in parts
    )
    return Acceptance(schema=SCHEMA, id=id_of(night), parts=found)


def half_but_logs(part: Part, role: str) -> float | None:
    return 0.0 if role == "logs" else 0.5


def standings(
    manifests: list[Manifest], annotations: Mapping[int, Annotations] | None = None, **changed: Any
) -> Standings:
    by_id = {id_of(night): found for night, found in (annotations or {}).items()}
    arguments = {"now": NOW, "shrink": half_but_logs, **changed}
    return judge(manifests, by_id, **arguments)


def summary(found: Standings, part: Part) -> str:
    """The standings of the copies of a part, oldest first, each as a letter; a dot is a fit copy."""
    letters = {DAMAGED: "D", SUSPECT: "S", SAFETY: "P"}
    words = ["".join(letters[r.kind] for r in item.unfit) or "." for item in reversed(found.of_series(part))]
    return " ".join(words)
