"""The request for a verification, and the result of a verification or drill, which is stored with the
backup."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from igny8_backup.errors import StorageError, UsageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.annotations import STORED, Check, Damage
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


def record_check(context: BackupContext, check: Check, findings: tuple[Finding, ...]) -> VerifyResult:
    """Store a check with its backup. A storage error becomes part of the result.

    Raises ``UsageError`` if the backup was removed meanwhile, as by prune_backups. This is not damage.
    """
    unrecorded = ""
    try:
        if not context.store.exists(keys.manifest_key(check.id)):
            what = f"Backup {check.id} was removed while it was verified."
            hint = "List the backups that exist: python manage.py list_backups."
            raise UsageError(what, unchanged="No result was recorded.", hint=hint)
        key = keys.check_key(check.id, check.started, check.depth)
        context.store.put_small(key, records.to_json(check))
    except StorageError as error:
        unrecorded = str(error)
    return VerifyResult(check=check, findings=findings, unrecorded=unrecorded)
