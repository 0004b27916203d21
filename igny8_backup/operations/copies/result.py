"""The results of copying backups to other storages."""

from __future__ import annotations

from dataclasses import dataclass, field

from igny8_backup.operations.notify.alarms import Alarm


@dataclass(frozen=True, kw_only=True)
class CopyResult:
    """What was copied to one storage. ``name`` is the name of the copy, ``where`` describes its storage.

    ``copied`` are the ids of the backups that were copied, newest first. ``objects`` and ``bytes`` are the
    number and the size of the copied objects. ``present`` are the ids of the backups that were there before.
    ``left_out`` and ``failed`` map ids of backups to reasons: why the backup must not be copied, and why
    copying it failed. ``problem`` is the message of the error that ended the work on this copy, or empty.
    """

    name: str
    where: str = ""
    copied: tuple[str, ...] = ()
    objects: int = 0
    bytes: int = 0
    present: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    problem: str = ""

    @property
    def complete(self) -> bool:
        """Whether nothing failed. Backups that must not be copied are no failure."""
        return not (self.failed or self.problem)

    def problems(self) -> list[str]:
        """Return one line for each failure."""
        lines = [
            f"NOT COPIED to {self.name}: backup {backup_id}: {text}"
            for backup_id, text in self.failed.items()
        ]
        return [*lines, *[f"NOT COPIED to {self.name}: {self.problem}"] * bool(self.problem)]


@dataclass(frozen=True, kw_only=True)
class CopiesResult:
    """The results for all copies."""

    copies: tuple[CopyResult, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing failed for any copy."""
        return all(copy.complete for copy in self.copies)

    @property
    def alarms(self) -> list[Alarm]:
        """An alarm for each copy for which something failed."""
        return [Alarm(f"copy {copy.name}", "not copied") for copy in self.copies if not copy.complete]

    def problems(self) -> list[str]:
        """Return one line for each failure."""
        return [line for copy in self.copies for line in copy.problems()]
