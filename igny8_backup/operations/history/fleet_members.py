"""Find the backups that belong to a fleet backup, for a restore on one of its hosts."""

from __future__ import annotations

from igny8_backup.catalog.fleet_restores import restored_hosts
from igny8_backup.catalog.fleets import Fleet, read_fleet
from igny8_backup.catalog.given import Given
from igny8_backup.errors import IntegrityError, StorageError, UsageError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.fleet import FleetRecord
from igny8_backup.formats.documents.fleet_restore import HostRestored
from igny8_backup.formats.manifest import RUNNING, Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.read.snapshot import read_current, without_snapshot


def find_fleet(context: BackupContext, fleet_id: str) -> Fleet | None:
    """Return the record of the fleet backup ``fleet_id``; ``None`` if this is not the id of one.

    Raises ``IntegrityError`` if the record is damaged, and ``StorageError``.
    """
    if not keys.is_id(fleet_id):
        return None
    return read_fleet(without_snapshot(context).store, context.config.trust, fleet_id)


def read_one(context: BackupContext, backup_id: str, *, command: str) -> Manifest:
    """Read the manifest of the backup ``backup_id`` for ``command``, which takes the id of one backup.

    If it is the id of a fleet backup, raises ``UsageError`` with the ids of the parts. Raises the errors of
    ``read_current``.
    """
    try:
        return read_current(context, backup_id)
    except UsageError:
        _refuse_fleet(context, backup_id, command)
        raise


def _refuse_fleet(context: BackupContext, backup_id: str, command: str) -> None:
    if fleet := find_fleet(context, backup_id):
        parts = [part for part in fleet.record.parts if part.backup_id]
        what = f"{backup_id} is a fleet backup, and {command} takes the id of a backup of one host."
        hint = "; ".join(f"{part.describe()}: {part.backup_id}" for part in parts)
        hint = f"Give the id of a part: {hint}." if parts else "No part of it was stored."
        raise UsageError(what, unchanged="Nothing was changed.", hint=hint)


def read_members(context: BackupContext, fleet: Fleet, *, host: str, others: bool) -> Given:
    """Read the parts of a fleet backup that a restore on ``host`` can use.

    These are the trees of ``host``, and the databases of all hosts. The notes say which parts are missing
    and, with ``others``, on which other hosts the fleet backup is still to be restored.

    Raises ``UsageError`` if no part concerns ``host``, ``IntegrityError`` if a manifest is damaged or is not
    one of this fleet backup, and ``StorageError``.
    """
    record, notes = fleet.record, list[str]()
    if fleet.untrusted:
        notes.append(
            f"The record of the fleet backup {record.id} is not trusted: {fleet.untrusted}. Its parts are"
            " checked one by one, but parts may be missing that the record does not name."
        )
    if record.outcome == RUNNING:
        notes.append(f"The fleet backup {record.id} is not finished, so parts of it may be missing.")
    notes += [
        f"The fleet backup {record.id} lacks {part.describe()}: {part.reason or part.state}."
        for part in record.missing()
    ]
    manifests = []
    for part in record.parts:
        if part.backup_id and (part.host == host or part.databases):
            if found := _read_member(context, record, part.backup_id):
                manifests.append(found)
            else:
                notes.append(f"The backup {part.backup_id} of {part.describe()} does not exist any more.")
    if not manifests:
        hosts = ", ".join(sorted({part.host for part in record.parts if part.backup_id})) or "no host"
        raise UsageError(
            f"The fleet backup {record.id} has no part that could be restored on the host {host!r}.",
            hint=f"It has stored parts of {hosts}. On a machine that replaces one of them, set"
            " IGNY8_BACKUP['HOST'] to its name, or give --from-host.",
        )
    if others:
        notes += _other_hosts(context, record, host)
    return Given(id=record.id, manifests=tuple(manifests), fleet=True, notes=tuple(notes))


def _read_member(context: BackupContext, record: FleetRecord, backup_id: str) -> Manifest | None:
    """Return the manifest of a part, which names the fleet backup; ``None`` if there is none."""
    try:
        manifest = read_current(context, backup_id)
    except UsageError:
        return None
    if manifest.fleet != record.id:
        raise IntegrityError(
            f"The record of the fleet backup {record.id} names the backup {backup_id}, which is not a part"
            " of it.",
            unchanged="Nothing was changed.",
            hint="Somebody may have changed the record. Restore the backups of the hosts by their own ids:"
            " list_backups.",
        )
    return manifest


def _other_hosts(context: BackupContext, record: FleetRecord, host: str) -> list[str]:
    """Return a note on the other hosts of the fleet backup, and where it is still to be restored."""
    others = sorted({part.host for part in record.parts if part.backup_id and part.host != host})
    if not others:
        return []
    try:
        done = restored_hosts(without_snapshot(context).store, context.config.trust, record.id)
    except StorageError as error:
        context.progress.note(f"It is not known which hosts have restored this fleet backup. {error}")
        done = {}
    to_do = [name for name in others if name not in done]
    notes = [_restored_note(name, done[name]) for name in others if name in done]
    if to_do:
        names = ", ".join(to_do)
        notes.append(
            f"The fleet backup also has parts of {names}. To restore these, run on each of them:"
            f" restore_all {record.id}."
        )
    return notes


def _restored_note(name: str, done: HostRestored) -> str:
    when = f"{done.restored:%Y-%m-%d %H:%M:%S} UTC"
    if name == done.host:
        return f"The host {name} has restored this fleet backup, at {when}."
    return f"The part of {name} in this fleet backup was restored on the host {done.host}, at {when}."
