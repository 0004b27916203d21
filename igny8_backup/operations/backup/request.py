"""What a backup is asked for, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from igny8_backup.errors import BackupError
from igny8_backup.formats.details import Skipped
from igny8_backup.formats.manifest import Manifest, RunRecord
from igny8_backup.operations.backup.tree import TreeRequest


@dataclass(frozen=True, kw_only=True)
class BackupRequest:
    """Which databases (aliases) and trees (names) to back up, and how much of those trees is read.
    ``task_id`` makes a queued task run once."""

    databases: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    reading: TreeRequest = TreeRequest()
    label: str = ""
    task_id: str = ""


@dataclass(frozen=True, kw_only=True)
class BackupResult:
    """What a run did. ``manifest`` is ``None`` when an ``earlier`` delivery of the task had done it."""

    id: str
    manifest: Manifest | None
    errors: dict[str, BackupError] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    earlier: RunRecord | None = None

    @property
    def whole(self) -> bool:
        """Whether all that was asked for is in the backup."""
        return not self.errors and not any(item.failure for item in self.skipped)

    def problems(self, most: int) -> list[str]:
        """What keeps it from being whole, a line for each part and for so many of the skipped files."""
        lines = [f"{name} FAILED: {error}" for name, error in self.errors.items()]
        lines += [f"{item.tree}: {item.path}: {item.reason}" for item in self.skipped[:most]]
        if len(self.skipped) > most:
            lines.append(f"... and {len(self.skipped) - most} more: show_backup {self.id}")
        return lines
