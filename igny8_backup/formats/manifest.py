"""The manifest of a backup.

It can be read without a key, so it contains nothing about the contents of the backup. Facts about the
contents are in the encrypted details: see ``formats.details``. ``formats.manifest_reader`` parses manifests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from igny8_backup.formats.objects import ListReference, StoredObject, list_object
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.formats.record_types import NOT_STORED

SCHEMA = 5
"""The newest schema of manifests: see ``formats.manifest_schema``."""
COMPLETE, FAILED, NOT_COPIED = "complete", "failed", "not copied"
"""States of a part of a backup. A copy lacks a part that is ``NOT_COPIED``; a run can end in the others."""
INCOMPLETE, RUNNING, STOPPED, LOCKED = "incomplete", "running", "stopped", "locked"
"""The other outcomes of a run. ``LOCKED``: it gave up waiting for the lock, and did nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The databases, trees and objects of a backup. A backup exists only once its manifest exists.

    ``safety`` marks the backup that ``restore_all --in-place`` makes before it replaces a database. It is
    kept until ``undo_restore --discard`` or ``pin_backup --unpin`` releases it, and a restore uses it only if
    its id is given. ``prefix`` is the setting ``PREFIX``; ``None`` in backups of earlier releases.
    ``blocks`` names the list of blocks of the backup (see ``formats.lists``); ``None`` if its own objects are
    smaller than a block, or in older backups. ``recipients`` are the public keys that the objects are
    encrypted to; empty in older backups. If these keys were changed later, ``replaces`` has the SHA-256 of
    each earlier manifest, oldest first. ``fleet`` is the id of the fleet backup that the backup is a part of;
    empty if there is none. ``left_out``, in memory only, are the parts that a copy lacks.
    """

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
    safety: bool = False
    prefix: str | None = None
    blocks: ListReference | None = None
    recipients: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    fleet: str = ""
    left_out: tuple[DatabasePart | TreePart, ...] = field(default=(), compare=False, metadata=NOT_STORED)

    @property
    def parts(self) -> tuple[DatabasePart | TreePart, ...]:
        return (*self.databases, *self.trees)

    @property
    def complete(self) -> bool:
        """Whether the copy of every requested database and tree is complete."""
        return all(part.state == COMPLETE for part in self.parts)

    def contents(self) -> tuple[StoredObject, ...]:
        """Return the objects that hold what was backed up, beginning with the details."""
        return (self.details, *(item for part in self.parts for item in part.objects()))

    def lists(self) -> tuple[StoredObject, ...]:
        """Return the lists that the manifest names, each once."""
        own = (list_object(self.blocks),) if self.blocks else ()
        return tuple(dict.fromkeys((*own, *(item for part in self.parts for item in part.lists()))))

    def objects(self) -> tuple[StoredObject, ...]:
        """Return every object that the backup needs, its lists included, beginning with the details."""
        return (*self.contents(), *self.lists())

    def own_objects(self) -> tuple[StoredObject, ...]:
        """Return :meth:`objects` without packs."""
        return (self.details, *(item for part in self.parts for item in part.own_objects()), *self.lists())

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Yield the key and the stored bytes of each of :meth:`objects`, which need not be made for that."""
        yield from ((item.key, item.stored_bytes) for item in (self.details, *self.lists()))
        yield from (item for part in self.parts for item in part.sizes())

    def named_keys(self) -> set[str]:
        """Return the keys of all objects that the backup needs, even of packs whose list is lost."""
        own, whole = {item.key for item in self.own_objects()}, self
        if self.left_out:  # a copy may hold a part of the backup only
            whole = self.as_stored()
            own.update(item.key for item in whole.own_objects())
        return own.union(*(part.pack_keys(self.host) for part in whole.parts))

    def as_stored(self) -> Manifest:
        """Return the manifest as it is stored: with all parts, without the packs that its lists name."""
        if not self.left_out and not any(part.packs for part in self.parts if part.pack_lists):
            return self
        left_out = {(part.kind, part.name): part for part in self.left_out}
        parts = [left_out.get((part.kind, part.name), part) for part in self.parts]
        stored = [replace(part, packs=()) if part.pack_lists else part for part in parts]
        return replace(
            self,
            databases=tuple(part for part in stored if isinstance(part, DatabasePart)),
            trees=tuple(part for part in stored if isinstance(part, TreePart)),
            left_out=(),
        )

    @property
    def stored_bytes(self) -> int:
        return sum(size for _, size in self.sizes())

    @property
    def encrypted(self) -> bool:
        return "age" in self.details.codecs
