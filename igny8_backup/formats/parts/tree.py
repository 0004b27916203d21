"""The entry of a tree (a folder of files) in a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from igny8_backup.errors import damaged_backup
from igny8_backup.formats import keys
from igny8_backup.formats.comparison import Baseline, Expected
from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.packed import PackedPart


@dataclass(frozen=True, kw_only=True, slots=True)
class TreePart(PackedPart):
    """The copy of a tree (a folder of files) in a backup. ``role`` is ``sites`` or ``logs``.

    ``bytes`` is the size of the contents of all files; ``allocated`` is what they occupied on the disk,
    without the holes of sparse files, or ``None`` in backups of earlier releases. ``skipped`` counts the
    files that the details list as skipped, ``excluded`` those that the settings exclude. The packs are tar
    archives of files; with large files in chunks, also the indexes of the tar archives of these files, and
    the packs of their chunks (see ``formats.chunked``). ``full`` means that every file was read and stored
    again. ``expected`` and ``baseline`` are the same as in :class:`DatabasePart`.
    """

    kind: ClassVar[str] = "files"

    name: str
    role: str
    state: str
    started: datetime
    finished: datetime
    index: StoredObject | None = None
    folders: StoredObject | None = None
    files: int = 0
    directories: int = 0
    links: int = 0
    bytes: int = 0
    allocated: int | None = None
    skipped: int = 0
    excluded: int = 0
    full: bool = True
    error: str = ""
    expected: Expected | None = None
    baseline: Baseline | None = None

    @property
    def stored_index(self) -> StoredObject:
        """The stored index (list of files). Raises ``IntegrityError`` if there is no complete copy."""
        if self.index is None:
            raise damaged_backup(f"The manifest of the backup names no index of the tree {self.name!r}.")
        return self.index

    def own_objects(self) -> tuple[StoredObject, ...]:
        """Return the index (list of files), and the tar of folders and links."""
        return tuple(item for item in (self.index, self.folders) if item)

    def pack_folder(self, host: str) -> str:
        return keys.pack_folder(host, self.name)

    def describe(self) -> str:
        return f"the tree {self.name!r}"
