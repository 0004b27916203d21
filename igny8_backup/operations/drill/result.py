"""The result of a drill: what was restored, the damage that was found, and what was left out."""

from __future__ import annotations

from dataclasses import dataclass

from igny8_backup.catalog.checked import sound_parts
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.notify.alarms import Alarm
from igny8_backup.operations.verify.result import VerifyResult


@dataclass(frozen=True, kw_only=True)
class DrillResult(VerifyResult):
    """The result of a drill for one backup. ``restored`` describes what was restored without damage."""

    manifest: Manifest
    restored: tuple[str, ...]

    @property
    def parts(self) -> dict[str, bool]:
        """The databases and trees that the drill tried to restore; the value is false if it found damage."""
        sound = sound_parts(self.check, self.manifest)
        return {
            f"{item.kind} {item.name} of {self.manifest.host}": item in sound
            for item in self.check.parts or ()
        }


@dataclass(frozen=True, kw_only=True)
class DrillReport:
    """The results of a drill, one for each backup. ``left_out`` names the parts that it did not test."""

    results: tuple[DrillResult, ...]
    left_out: tuple[str, ...] = ()

    @property
    def damaged(self) -> bool:
        return any(result.findings for result in self.results)

    @property
    def complete(self) -> bool:
        """Whether everything was restored without damage or warnings, and the results were recorded."""
        imperfect = any(result.unrecorded or result.warnings for result in self.results)
        return not (self.damaged or self.left_out or imperfect)

    @property
    def scope(self) -> list[str]:
        """The names of the databases and trees that this drill has tested.

        The outcome replaces their earlier alarms. The alarms of other databases and trees remain.
        """
        return [part for result in self.results for part in result.parts]

    @property
    def alarms(self) -> list[Alarm]:
        """One alarm for each database or tree that is damaged or was left out.

        There is one more alarm if there are warnings, and one if a result could not be recorded.
        """
        found = [
            Alarm(part, "damage")
            for result in self.results
            for part, right in result.parts.items()
            if not right
        ]
        found += [Alarm(part, "left out") for part in self.left_out]
        found += [Alarm("", "warnings")] * any(result.warnings for result in self.results)
        return found + [Alarm("", "unrecorded")] * any(result.unrecorded for result in self.results)

    def problems(self) -> list[str]:
        """Return a line for each damaged object, warning, unrecorded result and part that was left out."""
        lines = []
        for result in self.results:
            lines += [
                f"{item.damage.kind.upper()}: {item.damage.key}: {item.text}" for item in result.findings
            ]
            if result.unrecorded:
                lines.append(f"The result could not be recorded: {result.unrecorded}")
            lines += [f"WARNING: {text}" for text in result.warnings]
        return lines + [
            f"NOT DRILLED: {part}: there is no complete copy that can be relied on." for part in self.left_out
        ]
