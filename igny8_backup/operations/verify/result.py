"""The request for a verification, and the result of a verification or drill, which is stored with the
backup."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from igny8_backup.errors import StorageError, UsageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.annotations import SCHEMA, STORED, Check, Damage
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.context import BackupContext


@dataclass(frozen=True, kw_only=True)
class VerifyRequest:
    """A request to verify the backup ``backup_id``; if empty, the newest.

    ``depth`` is ``stored`` (compare sizes and digests) or ``content`` (also decrypt and parse). ``sample`` is
    the share of the objects to read, in percent; every day other objects are chosen.
    """

    backup_id: str = ""
    depth: str = STORED
    sample: int = 100
    identity_file: Path | None = None


def parse_percent(value: int | str) -> int:
    """Parse a whole number from 1 to 100, with or without a percent sign. Raises ``UsageError``."""
    digits = str(value).removesuffix("%")
    if not (digits.isascii() and digits.isdigit() and 1 <= int(digits) <= 100):
        raise UsageError(
            f"{value!r} is not a whole number from 1 to 100.",
            unchanged="Nothing was read.",
            hint="Give the share of the objects to read in percent, such as 5%.",
        )
    return int(digits)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One damaged object. ``damage`` is recorded in storage; ``text`` is shown, and may name files."""

    damage: Damage
    text: str


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """The result of a verification or drill. ``unrecorded``: why ``check`` could not be stored, or ``""``."""

    check: Check
    findings: tuple[Finding, ...]
    unrecorded: str = ""

    def problems(self) -> list[str]:
        """Return one line for each finding, and one if the result could not be recorded."""
        lines = [f"{finding.damage.kind.upper()}: {finding.text}" for finding in self.findings]
        if self.unrecorded:
            lines.append(f"The result could not be recorded: {self.unrecorded}")
        return lines


class CheckRecorder:
    """Collects the findings of one verification or drill, and stores the result with the backup.

    ``findings`` maps the keys of damaged objects to their findings. ``sample`` is in percent.
    """

    def __init__(self, context: BackupContext, manifest: Manifest, *, depth: str, sample: int = 100) -> None:
        self._context, self._manifest, self._depth, self._sample = context, manifest, depth, sample
        self.started = context.clock()
        self.findings: dict[str, Finding] = {}
        self._read = self._bytes = 0

    def count(self, *sizes: int) -> None:
        """Count objects of these sizes, in bytes, as read."""
        self._read += len(sizes)
        self._bytes += sum(sizes)

    def add_finding(self, key: str, kind: str, text: str) -> None:
        """Record that the object ``key`` is damaged. ``kind`` is that of :class:`Damage`."""
        self.findings[key] = Finding(damage=Damage(key=key, kind=kind), text=text)

    def record(self) -> VerifyResult:
        """Store the check with its backup. A storage error becomes part of the result.

        Raises ``UsageError`` if the backup was removed meanwhile, as by prune_backups. This is not damage.
        """
        findings = tuple(self.findings.values())
        check = Check(
            schema=SCHEMA,
            id=self._manifest.id,
            depth=self._depth,
            started=self.started,
            finished=self._context.clock(),
            sample=self._sample,
            objects=len(self._manifest.objects()) + 1,
            read=self._read,
            bytes=self._bytes,
            damage=tuple(finding.damage for finding in findings),
        )
        unrecorded = ""
        try:
            if not self._context.store.exists(keys.manifest_key(check.id)):
                what = f"Backup {check.id} was removed while it was verified."
                hint = "List the backups that exist: python manage.py list_backups."
                raise UsageError(what, unchanged="No result was recorded.", hint=hint)
            key = keys.check_key(check.id, check.started, check.depth)
            self._context.store.put_small(key, records.to_json(check))
        except StorageError as error:
            unrecorded = str(error)
        return VerifyResult(check=check, findings=findings, unrecorded=unrecorded)
