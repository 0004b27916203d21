"""Whether backups are still what was written, and can be read."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace

from igny8_backup.errors import IdentityError, IntegrityError, UsageError
from igny8_backup.formats import keys
from igny8_backup.formats.manifest import COMPLETE, INCOMPLETE, Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.verify.verifier import Looked, Verification, VerifyRequest, VerifyResult


@dataclass(frozen=True, kw_only=True)
class AllVerified:
    """The result of each backup, oldest first; a sentence for each whose manifest is lost or cannot be read;
    and one for each that the identity does not open."""

    results: tuple[VerifyResult, ...]
    lost: tuple[str, ...] = ()
    unopened: tuple[str, ...] = ()

    @property
    def damaged(self) -> bool:
        return bool(self.lost) or any(result.findings for result in self.results)

    @property
    def complete(self) -> bool:
        """Whether all was well, and every backup could be looked at and its result recorded."""
        return not (self.damaged or self.unopened or any(result.unrecorded for result in self.results))

    @property
    def failure_key(self) -> str:
        """Which kind of trouble it is; the worst, where there are several."""
        if self.damaged:
            return "damage"
        return "unopened" if self.unopened else "unrecorded"

    def problems(self) -> list[str]:
        """What was found, or could not be done, a line each."""
        lines = [f"LOST: {text}" for text in self.lost]
        several = len(self.results) > 1
        lines += [
            f"{result.check.id}: {line}" if several else line
            for result in self.results
            for line in result.problems()
        ]
        return [*lines, *(f"UNREAD: {text}" for text in self.unopened)]


def verify(context: BackupContext, request: VerifyRequest, looked: Looked | None = None) -> VerifyResult:
    """Looks at every object of one backup, and reads a ``sample`` of them, by default all; and those again in
    which the last check found damage, or a sample that leaves them out would deny it. What this run has
    ``looked`` at for another backup counts as read, and is not read again.

    Takes no lock: it changes nothing but that it adds its result. Raises ``UsageError`` for an unknown id,
    ``IntegrityError`` for a manifest that is lost or cannot be read, ``StorageError`` where the storage does
    not answer; for the depth ``content`` also ``IdentityError``, ``FilesError``, ``ToolMissingError``,
    ``ToolTooOldError``.
    """
    backup_id = request.backup_id or newest_backup(context)
    manifest = _known(context, backup_id)
    if looked:
        return Verification(context, request, manifest, looked).run()
    with closing(Looked()) as own:
        return Verification(context, request, manifest, own).run()


def verify_all(context: BackupContext, request: VerifyRequest) -> AllVerified:
    """The same for every backup there is. An object that several of them share is looked at once, for the
    oldest of them: its list of files has the most of what a pack holds. Where the list of a later one tells
    something else of a pack, that is read again.

    What is wrong with one backup does not keep from the others. Raises as :func:`verify` does for what is
    wrong with all.
    """
    results: list[VerifyResult] = []
    lost: list[str] = []
    unopened: list[str] = []
    with closing(Looked()) as looked:
        for backup_id in _all_ids(context) or [newest_backup(context)]:
            try:
                results.append(verify(context, replace(request, backup_id=backup_id), looked))
            except IntegrityError as error:
                lost.append(str(error))
            except IdentityError as error:
                if not request.identity_file and not context.identities(None, needed=False):
                    raise  # none is given, and not a wrong one for this backup
                unopened.append(f"{backup_id}: {error}")
            except UsageError as error:  # prune_backups has removed it meanwhile
                context.progress.note(str(error))
    return AllVerified(results=tuple(results), lost=tuple(lost), unopened=tuple(unopened))


def _all_ids(context: BackupContext) -> list[str]:
    """The ids of what there is, and of what should be there by the records of runs, oldest first."""
    found = {entry.id for entry in context.catalog.entries()}
    found |= {
        run.id for run in context.catalog.runs() if run.outcome in (COMPLETE, INCOMPLETE) and not run.pruned
    }
    return sorted(found)


def newest_backup(context: BackupContext) -> str:
    """The id of the newest backup. Raises ``UsageError`` where there is none."""
    entries = context.catalog.entries()
    if not entries:
        raise UsageError(
            f"There is no backup in {context.store.describe()}.",
            unchanged="Nothing was read.",
            hint="Make one: python manage.py backup_all.",
        )
    # What is dated in the future is not the newest, as long as there is another.
    return next((entry for entry in entries if entry.started <= context.clock()), entries[0]).id


def _known(context: BackupContext, backup_id: str) -> Manifest:
    """The manifest; that it is missing is damage where a run says that it wrote one."""
    try:
        return context.catalog.get(backup_id)
    except UsageError:
        run = context.catalog.run(backup_id) if keys.is_id(backup_id) else None
        if run and run.outcome in (COMPLETE, INCOMPLETE) and not run.pruned:
            raise IntegrityError(
                f"{keys.manifest_key(backup_id)} is missing, and so the backup: its run wrote one.",
                hint="Bring it back from another copy of the storage; choose another backup: list_backups.",
            ) from None
        raise
