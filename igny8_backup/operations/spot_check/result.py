"""What a spot check is asked to compare, and what it has found."""

from __future__ import annotations

from dataclasses import dataclass

from igny8_backup.formats.documents.spot_check import SpotFinding
from igny8_backup.operations.notify.alarms import Alarm
from igny8_backup.operations.spot_check.judge import Tolerances


@dataclass(frozen=True, kw_only=True)
class SpotRequest:
    """What to compare: the databases and trees ``names``, by default all but logs.

    ``sample`` is the number of changed files of each tree to open, to see whether they begin as their names
    say. ``allowed`` are the differences that raise no alarm.
    """

    names: tuple[str, ...] = ()
    sample: int = 500
    allowed: Tolerances = Tolerances()


@dataclass(frozen=True, kw_only=True)
class SpotPart:
    """The result for a database or tree, compared with the backup ``backup_id``.

    ``kind`` is ``database`` or ``files``. ``numbers`` are the fields of a ``LiveCheck`` for a tree, and the
    number of ``tables`` for a database. ``problem`` says why the part could not be compared, else it is
    empty.
    """

    kind: str
    name: str
    backup_id: str = ""
    numbers: dict[str, int] | None = None
    findings: tuple[SpotFinding, ...] = ()
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class SpotResult:
    """The results for all databases and trees."""

    parts: tuple[SpotPart, ...]

    @property
    def findings(self) -> tuple[tuple[str, SpotFinding], ...]:
        """The findings, each with the id of its backup."""
        return tuple((part.backup_id, finding) for part in self.parts for finding in part.findings)

    @property
    def complete(self) -> bool:
        """Whether everything could be compared, and nothing is an alarm."""
        return not self.findings and not any(part.problem for part in self.parts)

    @property
    def alarms(self) -> list[Alarm]:
        found = [Alarm(f"{item.kind} {item.name}", f"spot check: {item.cause}") for _, item in self.findings]
        return found + [Alarm(part.name, "not compared") for part in self.parts if part.problem]

    def problems(self) -> list[str]:
        """Return one line for each alarm, and for each part that could not be compared."""
        lines = [
            f"ALARM: {item.name}, backup {backup_id}: {item.text}. prune_backups removes no copy of it until"
            f" accept_backup {backup_id} accepts this."
            for backup_id, item in self.findings
        ]
        return lines + [f"NOT COMPARED: {part.name}: {part.problem}" for part in self.parts if part.problem]
