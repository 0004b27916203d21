"""Accept suspect copies in a backup, withdraw an acceptance, announce a move, or accept a lost backup."""

from __future__ import annotations

from dataclasses import dataclass, replace

from igny8_backup.catalog.removals import Removals
from igny8_backup.errors import UsageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.acceptance import Acceptance, AcceptedPart
from igny8_backup.formats.comparison import Expected
from igny8_backup.formats.documents.annotations import Annotations
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history import expected_sizes, storage_memory
from igny8_backup.operations.history.documents import note_unsigned, record_removal
from igny8_backup.operations.history.read import History, read_history
from igny8_backup.operations.maintain.hidden import hidden_backups
from igny8_backup.operations.maintain.pin import require_reason
from igny8_backup.operations.maintain.store_acceptance import store_acceptance
from igny8_backup.signing.trust import ACCEPTANCE, REMOVAL
from igny8_backup.standing import CopyStanding
from igny8_backup.standing.sizes import MOVE

_UNCHANGED = "Nothing was changed."


@dataclass(frozen=True, kw_only=True)
class AcceptResult:
    """The result of :func:`accept` and :func:`withdraw`.

    ``acceptance`` is the acceptance that the backup has now; ``None`` if nothing in it is accepted. ``parts``
    are the names of the databases and trees that this call has accepted or withdrawn. ``suspect`` are the
    copies of these databases and trees, in this backup and later ones, that are suspect after the call.
    """

    id: str
    acceptance: Acceptance | None
    parts: tuple[str, ...]
    suspect: tuple[CopyStanding, ...]


def accept(context: BackupContext, backup_id: str, reason: str, names: tuple[str, ...] = ()) -> AcceptResult:
    """Accept the copies of the databases and trees ``names`` in a backup.

    Without ``names``, all suspect copies and all copies with an alarm of ``spot_check`` are accepted. An
    accepted copy is no longer suspect, its alarms end, and later copies are compared with it. Takes the lock,
    so that the backup cannot be pruned at the same time. Raises ``UsageError`` for an unknown id, for a name
    that the backup does not contain, if there is nothing to accept, or for an empty or unprintable reason.
    """
    require_reason(reason, "An acceptance")
    note_unsigned(context, ACCEPTANCE, "The acceptance")
    with context.locked("accepting a backup"):
        context.catalog.get(backup_id)
        history = read_history(context)
        chosen = _choose(context, history, backup_id, names)
        now = context.clock()
        parts = {(item.kind, item.name): item for item in _accepted(history, backup_id)}
        for copy in chosen:
            key = copy.part.kind, copy.part.name
            parts[key] = AcceptedPart(kind=key[0], name=key[1], reason=reason.strip(), accepted=now)
        made = store_acceptance(context, history, backup_id, tuple(parts.values()))
        return _result(context, backup_id, made, chosen)


def withdraw(context: BackupContext, backup_id: str, names: tuple[str, ...] = ()) -> AcceptResult:
    """Withdraw the acceptance of the databases and trees ``names`` in a backup.

    Without ``names``, the acceptance is withdrawn completely. Raises ``UsageError`` if nothing to withdraw
    was accepted.
    """
    with context.locked("withdrawing an acceptance"):
        context.catalog.get(backup_id)
        history = read_history(context)
        accepted = _accepted(history, backup_id)
        chosen = [
            copy
            for copy in history.standings.of_backup(backup_id)
            if copy.accepted and (not names or copy.part.name in names)
        ]
        gone = {(copy.part.kind, copy.part.name) for copy in chosen}
        if not gone:
            accepted_names = f"No copy of {', '.join(names)}" if names else "No copy"
            what = f"{accepted_names} was accepted in backup {backup_id}."
            hint = f"See what was accepted: python manage.py show_backup {backup_id}."
            raise UsageError(what, unchanged=_UNCHANGED, hint=hint)
        left = tuple(item for item in accepted if (item.kind, item.name) not in gone)
        made = store_acceptance(context, history, backup_id, left)
        return _result(context, backup_id, made, chosen)


def announce_move(context: BackupContext, aliases: tuple[str, ...], reason: str) -> tuple[str, ...]:
    """Announce that databases move to another server, so that the next backup of each is not suspect.

    ``aliases`` are the databases; if empty, all that this host backs up. The next backup of each is allowed
    to come from another server or to lack migrations. Its size is compared as usual. Returns the aliases.
    Raises ``UsageError`` for an unknown alias or an empty or unprintable reason, ``FilesError`` if the
    announcement cannot be written.
    """
    require_reason(reason, "A move")
    known = context.config.databases
    for alias in aliases:
        if alias not in known:
            listed = ", ".join(known) or "none"
            what = f"This host backs up no database {alias!r}."
            raise UsageError(what, unchanged=_UNCHANGED, hint=f"It backs up: {listed}.")
    chosen = aliases or tuple(known)
    if not chosen:
        what = "This host backs up no database."
        raise UsageError(what, unchanged=_UNCHANGED, hint="Add one to IGNY8_BACKUP['DATABASES'].")
    with context.locked("announcing a move"):
        for alias in chosen:
            expected_sizes.announce_move(context, alias, Expected(by=MOVE, reason=reason.strip()))
    return chosen


def accept_loss(context: BackupContext, backup_id: str) -> None:
    """Accept that a backup is gone from storage, so that its loss is no longer reported.

    This host forgets the backup, and stores a record that the backup was removed, as prune_backups does.
    Raises ``UsageError`` if the backup exists, or if nothing shows that it existed. Raises ``FilesError`` if
    the memory in ``STATE_DIR`` cannot be written.
    """
    with context.locked("accepting the loss of a backup"):
        where = context.store.describe()
        run = context.catalog.run(backup_id) if keys.is_id(backup_id) else None
        removals = Removals(context.store, context.config.trust)
        known = run is not None and run.stored_manifest and not removals.explain(backup_id, run)
        if backup_id in {entry.id for entry in context.catalog.entries()}:
            what = f"Backup {backup_id} is not gone: it is in {where}."
            raise UsageError(what, unchanged=_UNCHANGED, hint="List the backups: list_backups.")
        hidden = hidden_backups(context, ())
        if not storage_memory.forget(context, [backup_id]) and not known and backup_id not in hidden:
            what = f"Neither this host nor a run record in {where} knows a backup {backup_id!r} that is gone."
            hint = "To see which backups are gone, run monitor_backups on the host that made them."
            raise UsageError(what, unchanged=_UNCHANGED, hint=hint)
        note_unsigned(context, REMOVAL, "That the loss is accepted")
        record_removal(
            context,
            backup_id,
            host=run.host if run else hidden.get(backup_id) or context.config.host,
            parts=run.requested if run else (),
            reason="its loss was accepted",
        )
        if run is not None and known:
            removed = replace(run, pruned=context.clock())
            context.store.put_small(keys.run_key(backup_id), records.to_json(removed))


def _choose(
    context: BackupContext, history: History, backup_id: str, names: tuple[str, ...]
) -> list[CopyStanding]:
    copies = history.standings.of_backup(backup_id)
    for name in names:
        if name not in [copy.part.name for copy in copies]:
            listed = ", ".join(copy.part.name for copy in copies) or "nothing"
            what = f"Backup {backup_id} has no complete copy of {name!r}."
            raise UsageError(what, unchanged=_UNCHANGED, hint=f"It contains: {listed}.")
    alarms = history.annotations.get(backup_id, Annotations()).spot_alarms()
    alarmed = {(item.kind, item.name) for item in alarms}
    doubtful = [copy for copy in copies if copy.suspect or (copy.part.kind, copy.part.name) in alarmed]
    chosen = [copy for copy in copies if copy.part.name in names] if names else doubtful
    if not chosen:
        what = f"No copy in backup {backup_id} is suspect or has an alarm, so there is nothing to accept."
        hint = "List the backups, and see which are suspect: python manage.py list_backups."
        raise UsageError(what, unchanged=_UNCHANGED, hint=hint)
    for copy in chosen:
        if copy not in doubtful and not copy.accepted:
            # Perhaps the id is wrong, and another copy is the suspect one.
            context.progress.note(
                f"The copy of {copy.part.name!r} in backup {backup_id} was not suspect and had no alarm. To"
                " see which copies are: python manage.py list_backups."
            )
    return chosen


def _accepted(history: History, backup_id: str) -> tuple[AcceptedPart, ...]:
    found = history.annotations.get(backup_id, Annotations()).acceptance
    return found.parts if found else ()


def _result(
    context: BackupContext, backup_id: str, made: Acceptance | None, chosen: list[CopyStanding]
) -> AcceptResult:
    """Judge the ``chosen`` copies and later copies of their databases and trees again; return the result.

    ``made`` is the acceptance that is in storage now, ``None`` if there is none.
    """
    parts = {copy.part for copy in chosen}
    since = chosen[0].started
    suspect = [
        copy
        for copy in read_history(context).standings.copies
        if copy.suspect and copy.part in parts and copy.started >= since
    ]
    return AcceptResult(
        id=backup_id,
        acceptance=made,
        parts=tuple(copy.part.name for copy in chosen),
        suspect=tuple(suspect),
    )
