"""The manifest of a backup and the record of a run.

Both can be read without a key, so they contain nothing about the contents of the backup. Facts about the
contents are in the encrypted details: see ``formats.details``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar

from igny8_backup.errors import IntegrityError, damaged_backup
from igny8_backup.formats import keys, records

SCHEMA = 1
COMPLETE, FAILED = "complete", "failed"
"""The states of a part of a backup, and two of the outcomes of a run."""
INCOMPLETE, RUNNING, STOPPED = "incomplete", "running", "stopped"
"""The other outcomes of a run."""
HEARTBEAT = timedelta(seconds=60)
"""The approximate time between two heartbeats that a run writes into its record."""


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object in storage.

    ``stored_bytes`` is its size, ``raw_bytes`` its size before compression and encryption. ``sha256`` is the
    digest of the stored bytes in hexadecimal digits. ``codecs`` are the steps that encoded the
    object, for example ``zstd`` and ``age``.
    """

    key: str
    stored_bytes: int
    raw_bytes: int
    sha256: str
    codecs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DatabasePart:
    """The copy of a database in a backup.

    ``engine`` is ``postgresql`` or ``sqlite``. ``error`` is the class of the exception if the dump failed.
    """

    kind: ClassVar[str] = "database"

    alias: str
    engine: str
    state: str
    started: datetime
    finished: datetime
    object: StoredObject | None = None
    server_version: str = ""
    dump_version: str = ""
    error: str = ""

    @property
    def name(self) -> str:
        """The alias of the database. Trees have a ``name`` too, so that code can treat both alike."""
        return self.alias

    @property
    def bytes(self) -> int:
        """The size of the dump before compression; 0 if there is no complete dump."""
        return self.object.raw_bytes if self.object else 0

    @property
    def dump(self) -> StoredObject:
        """The stored dump. Raises ``IntegrityError`` if there is no complete dump."""
        if self.object is None:
            raise damaged_backup(f"The manifest of the backup names no dump of the database {self.alias!r}.")
        return self.object


@dataclass(frozen=True, kw_only=True)
class TreePart:
    """The copy of a tree (a folder of files) in a backup. ``role`` is ``sites`` or ``logs``.

    ``bytes`` is the size of the contents of all files. ``skipped`` counts the files that the details list as
    skipped, ``excluded`` those that the settings exclude. ``packs`` are all packs (tar archives of
    files) that the tree needs, oldest first, including packs of earlier backups. ``full`` means that every
    file was read and stored again.
    """

    kind: ClassVar[str] = "files"

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

    @property
    def stored_index(self) -> StoredObject:
        """The stored index (list of files). Raises ``IntegrityError`` if there is no complete copy."""
        if self.index is None:
            raise damaged_backup(f"The manifest of the backup names no index of the tree {self.name!r}.")
        return self.index

    def objects(self) -> tuple[StoredObject, ...]:
        """Return the index (list of files), the tar of folders and links, and the packs (tars of files)."""
        return tuple(item for item in (self.index, self.folders, *self.packs) if item)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The databases, trees and objects of a backup. A backup exists only once its manifest exists."""

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
    def parts(self) -> tuple[DatabasePart | TreePart, ...]:
        return (*self.databases, *self.trees)

    @property
    def complete(self) -> bool:
        """Whether the copy of every requested database and tree is complete."""
        return all(part.state == COMPLETE for part in self.parts)

    def objects(self) -> tuple[StoredObject, ...]:
        """Return every object that the manifest names, beginning with the details."""
        found = [self.details]
        found += [part.object for part in self.databases if part.object]
        for tree in self.trees:
            found += tree.objects()
        return tuple(found)

    @property
    def stored_bytes(self) -> int:
        return sum(item.stored_bytes for item in self.objects())

    @property
    def encrypted(self) -> bool:
        return "age" in self.details.codecs


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The record of a backup run, which exists for failed runs as well.

    ``errors`` maps the name of each failed database or tree to the class of its exception.
    ``manifest_sha256`` is the digest of the manifest that the run wrote. ``pruned`` is the time when
    ``prune_backups`` removed the manifest.
    """

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
        """Return whether the run is still active, judging by its heartbeat."""
        return self.outcome == RUNNING and now - self.heartbeat < 5 * HEARTBEAT


def read_manifest(data: bytes, backup_id: str) -> Manifest:
    """Parse the manifest of the backup ``backup_id``.

    Raises :class:`IntegrityError` if ``data`` is malformed or from a newer release, if it lacks an object of
    a complete database or tree, or if the key of an object is not one that the backup can have.
    """
    name = f"The manifest of backup {backup_id}"
    manifest = records.from_json(Manifest, data, name=name, schema=SCHEMA)
    if manifest.id != backup_id:
        raise IntegrityError(f"{name} is that of another backup, {manifest.id!r}.")
    lacking = [part.alias for part in manifest.databases if part.state == COMPLETE and not part.object]
    lacking += [
        part.name for part in manifest.trees if part.state == COMPLETE and not (part.index and part.folders)
    ]
    if lacking:
        raise IntegrityError(f"{name} lists {', '.join(lacking)} as complete, without the stored objects.")
    for item, kind, part in _places(manifest):
        key = keys.parse(item.key)
        writer = backup_id if kind != "pack" or key is None else key.backup_id  # packs are shared
        if key is None or (key.kind, key.name, key.backup_id) != (kind, part, writer):
            raise IntegrityError(f"{name} names the object {item.key!r}, which does not belong there.")
    return manifest


def _places(manifest: Manifest) -> Iterator[tuple[StoredObject, str, str]]:
    """Yield each object of a backup with the ``kind`` and ``name`` that its parsed key must have."""
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
