"""The backup that a user has named: one backup, or the parts of a fleet backup that concern one host."""

from __future__ import annotations

from dataclasses import dataclass

from igny8_backup.formats.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class Given:
    """The manifests of the backup that the user has named.

    ``id`` is the id that the user gave. ``fleet`` is true if it is that of a fleet backup: then the manifests
    are those of its parts that concern the host of the restore. ``notes`` say what the fleet backup lacks.
    """

    id: str
    manifests: tuple[Manifest, ...]
    fleet: bool = False
    notes: tuple[str, ...] = ()

    @classmethod
    def one(cls, manifest: Manifest) -> Given:
        """Return the single backup ``manifest``."""
        return cls(id=manifest.id, manifests=(manifest,))

    @property
    def name(self) -> str:
        """The beginning of a sentence about the backup, such as ``Backup 20261122T021500Z-7f3a9c``."""
        return f"{'Fleet backup' if self.fleet else 'Backup'} {self.id}"
