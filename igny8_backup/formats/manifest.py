"""What lies beside the data and needs no key: the manifest and the record of a run.

They tell nothing about the contents; the details do (``details``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys, records

SCHEMA = 1
COMPLETE, FAILED = "complete", "failed"
"""States of a part; a run may besides be:"""
INCOMPLETE, RUNNING, STOPPED = "incomplete", "running", "stopped"
HEARTBEAT = timedelta(seconds=60)
"""How often a run that is under way says so, about."""


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """One object: its key, bytes as stored and before the codecs, SHA-256 (hex) of the stored bytes."""

    key: str
    stored_bytes: int
    raw_bytes: int
    sha256: str
    codecs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DatabasePart:
    """One database. ``engine`` is ``postgresql`` or ``sqlite``; ``error`` names the kind of failure."""

    alias: str
    engine: str
    state: str
    started: datetime
    finished: datetime
    object: StoredObject | None = None
    server_version: str = ""
    dump_version: str = ""
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class TreePart:
    """One tree. ``role`` is ``sites`` or ``logs``; ``bytes`` counts file contents; the details list what was
    skipped; ``excluded`` counts what the settings leave out. ``packs`` are all that are needed, those of
    earlier backups included, oldest first; ``full``: every file was read and stored anew."""

    name: str
    role: str
    state: str
    started: datetime
    finished: datetime
    index: StoredObject | None = None
    folders: StoredObject | None = None
    packs: tuple[StoredObject, ...] = ()
    files: int = 0
    directories: int = 0
    links: int = 0
    bytes: int = 0
    skipped: int = 0
    excluded: int = 0
    full: bool = True
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A backup exists when its manifest exists (law 1)."""

    schema: int
    id: str
    host: str
    environment: str
    label: str
    started: datetime
    finished: datetime
    requested: tuple[str, ...]
    software: dict[str, str]
    details: StoredObject
    databases: tuple[DatabasePart, ...] = ()
    trees: tuple[TreePart, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every part that was asked for is complete."""
        databases = all(part.state == COMPLETE for part in self.databases)
        return databases and all(part.state == COMPLETE for part in self.trees)

    def objects(self) -> tuple[StoredObject, ...]:
        """Every object the manifest names, the details first."""
        found = [self.details]
        found += [part.object for part in self.databases if part.object]
        for tree in self.trees:
            found += [item for item in (tree.index, tree.folders) if item]
            found += tree.packs
        return tuple(found)

    @property
    def stored_bytes(self) -> int:
        return sum(item.stored_bytes for item in self.objects())

    @property
    def encrypted(self) -> bool:
        return "age" in self.details.codecs


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Each run, failures too. ``outcome`` is one of the words above; ``errors`` names kinds of failure.
    ``manifest_sha256`` is of the manifest that it wrote; ``pruned`` tells when that was removed."""

    schema: int
    id: str
    host: str
    environment: str
    label: str
    requested: tuple[str, ...]
    started: datetime
    heartbeat: datetime
    outcome: str
    finished: datetime | None = None
    task_id: str = ""
    errors: dict[str, str] = field(default_factory=dict)
    manifest_sha256: str = ""
    pruned: datetime | None = None

    def is_alive(self, now: datetime) -> bool:
        """Whether it is still under way, as far as its heartbeat tells."""
        return self.outcome == RUNNING and now - self.heartbeat < 5 * HEARTBEAT


def read_manifest(data: bytes, backup_id: str) -> Manifest:
    """The manifest of ``backup_id``.

    Raises :class:`IntegrityError` when it is malformed, newer than this release, lacks an object of a
    complete part, or names objects that are not such a part's.
    """
    name = f"The manifest of backup {backup_id}"
    manifest = records.from_json(Manifest, data, name=name, schema=SCHEMA)
    if manifest.id != backup_id:
        raise IntegrityError(f"{name} says that it is of {manifest.id!r}.")
    lacking = [part.alias for part in manifest.databases if part.state == COMPLETE and not part.object]
    lacking += [
        part.name for part in manifest.trees if part.state == COMPLETE and not (part.index and part.folders)
    ]
    if lacking:
        raise IntegrityError(f"{name} calls {', '.join(lacking)} complete without naming what was stored.")
    for item, kind, part in _places(manifest):
        key = keys.parse(item.key)
        writer = backup_id if kind != "pack" or key is None else key.backup_id  # packs are shared
        if key is None or (key.kind, key.name, key.backup_id) != (kind, part, writer):
            raise IntegrityError(f"{name} names the object {item.key!r}, which is not one of its own there.")
    return manifest


def _places(manifest: Manifest) -> Iterator[tuple[StoredObject, str, str]]:
    """Each object with the kind and the name that its key must have."""
    yield manifest.details, "details", ""
    for database in manifest.databases:
        if database.object:
            yield database.object, "database", database.alias
    for tree in manifest.trees:
        if tree.index:
            yield tree.index, "index", tree.name
        if tree.folders:
            yield tree.folders, "folders", tree.name
        for pack in tree.packs:
            yield pack, "pack", tree.name
