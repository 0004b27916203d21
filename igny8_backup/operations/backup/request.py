"""The request for a backup, and its result."""

from __future__ import annotations

from dataclasses import dataclass, field

from igny8_backup.errors import BackupError
from igny8_backup.formats.details import Skipped
from igny8_backup.formats.manifest import Manifest, RunRecord
from igny8_backup.operations.notify.mailed_alarms import Alarm


@dataclass(frozen=True, kw_only=True)
class BackupRequest:
    """What to back up: ``databases`` by alias, ``trees`` by name.

    ``full`` reads and stores every file. ``checksum`` reads every file and stores those whose content
    differs from the last backup. Without either, only files whose metadata changed are read. ``task_id`` is
    the id of the Celery task; a task that is delivered twice makes only one backup.
    """

    databases: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    full: bool = False
    checksum: bool = False
    label: str = ""
    task_id: str = ""


@dataclass(frozen=True, kw_only=True)
class BackupResult:
    """The outcome of a backup run.

    ``errors`` maps each database or tree that failed to its error. If an earlier delivery of the same Celery
    task has made the backup, ``manifest`` is ``None`` and ``earlier`` is the record of that run.
    """

    id: str
    manifest: Manifest | None
    errors: dict[str, BackupError] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    earlier: RunRecord | None = None

    @property
    def complete(self) -> bool:
        """Whether the backup contains everything that was requested."""
        return not self.errors and not any(item.failure for item in self.skipped)

    @property
    def alarms(self) -> list[Alarm]:
        """An alarm for each database or tree that failed or is incomplete."""
        failed = [Alarm(name, type(error).__name__) for name, error in self.errors.items()]
        skipped = [Alarm(item.tree, f"incomplete: {item.reason}") for item in self.skipped if item.failure]
        return list(dict.fromkeys((*failed, *skipped)))

    def problems(self, limit: int) -> list[str]:
        """Return one line for each failed database or tree, and for at most ``limit`` missing files."""
        lines = [f"{name} FAILED: {error}" for name, error in self.errors.items()]
        return lines + self._listed([item for item in self.skipped if item.failure], limit)

    def left_out(self, limit: int) -> list[str]:
        """One line for each path that a backup never holds, such as a socket, at most ``limit``."""
        return self._listed([item for item in self.skipped if not item.failure], limit)

    def _listed(self, skipped: list[Skipped], limit: int) -> list[str]:
        lines = [f"{item.tree}: {item.path}: {item.reason}" for item in skipped[:limit]]
        if len(skipped) > limit:
            lines.append(f"... and {len(skipped) - limit} more: show_backup {self.id}")
        return lines
