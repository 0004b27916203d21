"""Verify one backup, or every one: are the objects in storage still what was written?"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace

from igny8_backup.errors import IdentityError, IntegrityError, UsageError
from igny8_backup.formats import keys
from igny8_backup.formats.manifest import COMPLETE, INCOMPLETE, Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.notify.alarms import Alarm
from igny8_backup.operations.verify.result import VerifyRequest, VerifyResult
from igny8_backup.operations.verify.verifier import SharedResults, Verifier

ALL_BACKUPS = "all backups"
"""The part of an alarm that only the verification of all backups raises and ends."""


@dataclass(frozen=True, kw_only=True)
class AllVerified:
    """The results of all backups, oldest first.

    ``lost`` has a sentence for each backup whose manifest is missing or unreadable, ``unopened`` one for each
    that the given identity does not decrypt.
    """

    results: tuple[VerifyResult, ...]
    lost: tuple[str, ...] = ()
    unopened: tuple[str, ...] = ()

    @property
    def damaged(self) -> bool:
        return bool(self.lost) or any(result.findings for result in self.results)

    @property
    def complete(self) -> bool:
        """Whether every backup is undamaged, could be verified, and has its result recorded."""
        return not (self.damaged or self.unopened or any(result.unrecorded for result in self.results))

    @property
    def alarms(self) -> list[Alarm]:
        """Each backup that is damaged or could not be verified, with the kind of problem."""
        found = [
            Alarm(result.check.id, "damage" if result.findings else "unrecorded")
            for result in self.results
            if result.findings or result.unrecorded
        ]
        found += [Alarm(ALL_BACKUPS, "lost")] * bool(self.lost)
        return found + [Alarm(ALL_BACKUPS, "unopened")] * bool(self.unopened)

    @property
    def ids(self) -> list[str]:
        """The backups that were verified."""
        return [result.check.id for result in self.results]

    def problems(self) -> list[str]:
        """One line for each damaged object and each backup that could not be verified."""
        lines = [f"LOST: {text}" for text in self.lost]
        several = len(self.results) > 1
        lines += [
            f"{result.check.id}: {line}" if several else line
            for result in self.results
            for line in result.problems()
        ]
        return [*lines, *(f"UNREAD: {text}" for text in self.unopened)]


def verify(
    context: BackupContext, request: VerifyRequest, shared: SharedResults | None = None
) -> VerifyResult:
    """Check that every object of one backup exists, and read a sample of them; record the result.

    Objects in which the last check found damage are always read: otherwise a sample without them would look
    like a repair. ``shared`` holds what this run already found for objects of other backups; these are not
    read again. Takes no lock, because it only adds its result.

    Raises ``UsageError`` for an unknown id, ``IntegrityError`` for a missing or unreadable manifest,
    ``StorageError``; for the depth ``content`` also ``IdentityError``, ``FilesError``, ``ToolMissingError``,
    ``ToolTooOldError``.
    """
    backup_id = request.backup_id or newest_backup(context)
    manifest = _read_manifest(context, backup_id)
    if shared:
        return Verifier(context, request, manifest, shared).run()
    with closing(SharedResults()) as own:
        return Verifier(context, request, manifest, own).run()


def verify_all(context: BackupContext, request: VerifyRequest) -> AllVerified:
    """Verify every backup, oldest first; damage in one does not stop the others.

    A pack that several backups share is read once, for the oldest of them, whose index lists the most files
    of the pack. It is read again only where the index of a later backup contradicts the earlier one. Raises
    as :func:`verify` for what affects every backup.
    """
    results: list[VerifyResult] = []
    lost: list[str] = []
    unopened: list[str] = []
    with closing(SharedResults()) as shared:
        for backup_id in _all_ids(context) or [newest_backup(context)]:
            try:
                results.append(verify(context, replace(request, backup_id=backup_id), shared))
            except IntegrityError as error:
                lost.append(error.what)
            except IdentityError as error:
                if not request.identity_file and not context.identities(None, needed=False):
                    raise  # no identity at all, rather than a wrong one for this backup
                unopened.append(f"{backup_id}: {error}")
            except UsageError as error:  # prune_backups removed it during this run
                context.progress.note(str(error))
    return AllVerified(results=tuple(results), lost=tuple(lost), unopened=tuple(unopened))


def _all_ids(context: BackupContext) -> list[str]:
    """The ids of all backups that exist, or should exist according to the run records; oldest first."""
    found = {entry.id for entry in context.catalog.entries()}
    found |= {
        run.id for run in context.catalog.runs() if run.outcome in (COMPLETE, INCOMPLETE) and not run.pruned
    }
    return sorted(found)


def newest_backup(context: BackupContext) -> str:
    """The id of the newest backup that is not dated in the future, if there is one; else the newest.

    Raises ``UsageError`` where there is no backup.
    """
    entries = context.catalog.entries()
    if not entries:
        raise UsageError(
            f"There is no backup in {context.store.describe()}.",
            unchanged="Nothing was read.",
            hint="Create one: python manage.py backup_all.",
        )
    return next((entry for entry in entries if entry.started <= context.clock()), entries[0]).id


def _read_manifest(context: BackupContext, backup_id: str) -> Manifest:
    """Read the manifest. A missing one is damage, not an unknown id, if a run record says it was written."""
    try:
        return context.catalog.get(backup_id)
    except UsageError:
        run = context.catalog.run(backup_id) if keys.is_id(backup_id) else None
        if run and run.outcome in (COMPLETE, INCOMPLETE) and not run.pruned:
            raise IntegrityError(
                f"{keys.manifest_key(backup_id)} is missing, although the run of this backup wrote it.",
                unchanged="Nothing was changed.",
                hint="Copy it back from another copy of the storage, or choose another backup: list_backups.",
            ) from None
        raise
