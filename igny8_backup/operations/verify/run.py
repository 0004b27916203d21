"""Verify one or all backups: check that the objects in storage are those that were written."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace

from igny8_backup.errors import IdentityError, IntegrityError, UsageError
from igny8_backup.formats import keys
from igny8_backup.formats.manifest import COMPLETE, INCOMPLETE, Manifest, RunRecord
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.notify.mailed_alarms import Alarm
from igny8_backup.operations.verify.result import VerifyRequest, VerifyResult
from igny8_backup.operations.verify.verifier import SharedResults, Verifier

ALL_BACKUPS = "all backups"
"""The part of an alarm that only the verification of all backups raises and ends."""


@dataclass(frozen=True, kw_only=True)
class AllVerified:
    """The results for several backups, oldest first.

    ``lost`` has a sentence for each backup whose manifest is missing or unreadable, ``unopened`` a sentence
    for each backup that the given identity cannot decrypt.
    """

    results: tuple[VerifyResult, ...]
    lost: tuple[str, ...] = ()
    unopened: tuple[str, ...] = ()

    @property
    def damaged(self) -> bool:
        return bool(self.lost) or any(result.findings for result in self.results)

    @property
    def complete(self) -> bool:
        """Whether all backups are undamaged and could be verified, and their results were recorded."""
        return not (self.damaged or self.unopened or any(result.unrecorded for result in self.results))

    @property
    def alarms(self) -> list[Alarm]:
        """An alarm for each backup that is damaged, and for each problem that prevented a verification."""
        found = [
            Alarm(result.check.id, "damage" if result.findings else "unrecorded")
            for result in self.results
            if result.findings or result.unrecorded
        ]
        found += [Alarm(ALL_BACKUPS, "lost")] * bool(self.lost)
        return found + [Alarm(ALL_BACKUPS, "unopened")] * bool(self.unopened)

    @property
    def ids(self) -> list[str]:
        """The ids of the backups that were verified."""
        return [result.check.id for result in self.results]

    def problems(self) -> list[str]:
        """Return one line for each damaged object and each backup that could not be verified."""
        lines = [f"LOST: {text}" for text in self.lost]
        for result in self.results:
            prefix = f"{result.check.id}: " if len(self.results) > 1 else ""
            lines += [f"{prefix}{line}" for line in result.problems()]
        return [*lines, *(f"UNREAD: {text}" for text in self.unopened)]


def verify(
    context: BackupContext, request: VerifyRequest, shared: SharedResults | None = None
) -> VerifyResult:
    """Check that every object of one backup exists, and read a sample of them; record the result.

    Objects that the last check found damaged are always read, because the result of a sample without them
    would look like a repair. ``shared`` holds the results for objects that were read for other backups; these
    are not read again. No lock is taken, because only the result is added to the storage.

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
    """Verify every backup, oldest first. Damage in one does not prevent the verification of the others.

    A pack (tar archive) that several backups share is read once, for the oldest of them, whose index lists
    the most files of the pack. The pack is read again only if the index of a later backup contradicts that
    index. Raises the errors of :func:`verify` that affect all backups, such as ``StorageError``.
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
                    raise  # no identity was given, so no backup can be read
                unopened.append(f"{backup_id}: {error}")
            except UsageError as error:  # prune_backups has removed the backup meanwhile
                context.progress.note(str(error))
    return AllVerified(results=tuple(results), lost=tuple(lost), unopened=tuple(unopened))


def _all_ids(context: BackupContext) -> list[str]:
    """Return the ids of the backups that exist, or should exist by their run records; oldest first."""
    found = {entry.id for entry in context.catalog.entries()}
    return sorted(found | {run.id for run in context.catalog.runs() if _wrote_manifest(run)})


def _wrote_manifest(run: RunRecord) -> bool:
    """Return whether the run wrote a manifest that should still exist."""
    return run.outcome in (COMPLETE, INCOMPLETE) and not run.pruned


def newest_backup(context: BackupContext) -> str:
    """Return the id of the newest backup. Backups dated in the future count only if there are no others.

    Raises ``UsageError`` if there is no backup.
    """
    entries = context.catalog.entries()
    if not entries:
        what = f"There is no backup in {context.store.describe()}."
        hint = "Create one: python manage.py backup_all."
        raise UsageError(what, unchanged="Nothing was read.", hint=hint)
    return next((entry for entry in entries if entry.started <= context.clock()), entries[0]).id


def _read_manifest(context: BackupContext, backup_id: str) -> Manifest:
    """Read the manifest. If it is missing, although a run wrote it, this is damage: ``IntegrityError``."""
    try:
        return context.catalog.get(backup_id)
    except UsageError:
        run = context.catalog.run(backup_id) if keys.is_id(backup_id) else None
        if run and _wrote_manifest(run):
            what = f"{keys.manifest_key(backup_id)} is missing, although the run of this backup wrote it."
            hint = "Copy it back from another copy of the storage, or choose another backup: list_backups."
            raise IntegrityError(what, unchanged="Nothing was changed.", hint=hint) from None
        raise
