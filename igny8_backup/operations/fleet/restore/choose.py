"""Choose the fleet backup to restore, or the fleet restore to undo, and the hosts that take part."""

from __future__ import annotations

from datetime import timedelta

from igny8_backup.catalog.fleet_restores import read_restore, restore_ids
from igny8_backup.catalog.fleets import Fleet, read_fleets
from igny8_backup.conf import SETTING
from igny8_backup.errors import IntegrityError, RefusedError, UsageError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.fleet_restore import RESTORE, FleetRestore
from igny8_backup.formats.manifest import COMPLETE, RUNNING
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.fleet_members import find_fleet

LONGEST = timedelta(days=30)
"""Older fleet restores are not looked for."""


def choose_fleet(context: BackupContext, fleet_id: str) -> tuple[Fleet, list[str]]:
    """Return the fleet backup to restore, by default the newest complete one, and notes about it.

    Raises ``UsageError`` if there is none, ``RefusedError`` if it is still running or is not trusted.
    """
    if not fleet_id:
        found = read_fleets(context.store, context.config.trust)
        usable = [one for one in found if one.record.outcome == COMPLETE and not one.untrusted]
        if not usable:
            raise UsageError(
                "There is no complete fleet backup.",
                hint="Make one with backup_fleet, or give the id of an incomplete one: list_backups.",
            )
        newer = [one for one in found if one.record.id > usable[0].record.id]
        return usable[0], [f"The fleet backup {one.record.id} is newer, but {_why(one)}." for one in newer]
    fleet = find_fleet(context, fleet_id)
    if fleet is None:
        raise UsageError(
            f"There is no fleet backup {fleet_id!r} in {context.store.describe()}.",
            hint="Look for its id in list_backups. To restore a backup of one host, leave out --fleet.",
        )
    if fleet.record.outcome == RUNNING:
        raise RefusedError(
            f"The fleet backup {fleet_id} is not finished.",
            unchanged="Nothing was changed.",
            hint="Wait until it ends. If its coordinator was killed, the next backup_fleet completes it.",
        )
    if fleet.untrusted:
        raise RefusedError(
            f"The record of the fleet backup {fleet_id} is not trusted: {fleet.untrusted}.",
            unchanged="Nothing was changed.",
            hint=f"Restore each host by itself, which checks the parts one by one: restore_all {fleet_id}.",
        )
    lacking = [
        f"The fleet backup {fleet_id} lacks {part.describe()}: {part.reason or part.state}."
        for part in fleet.record.missing()
    ]
    return fleet, lacking


def choose_hosts(
    context: BackupContext, fleet: Fleet, by_hand: tuple[str, ...]
) -> tuple[tuple[str, ...], list[str]]:
    """Return the hosts whose parts the fleet backup has stored, and notes on hosts that it does not cover.

    Raises ``UsageError`` if ``HOSTS`` has no queue for one of them that is not in ``by_hand``.
    """
    hosts = tuple(dict.fromkeys(part.host for part in fleet.record.parts if part.backup_id))
    if unknown := [host for host in by_hand if host not in hosts]:
        raise UsageError(
            f"--by-hand names {unknown[0]!r}, of which the fleet backup {fleet.record.id} has no part.",
            hint=f"It has parts of: {', '.join(hosts) or 'no host'}.",
        )
    require_queues(
        context,
        hosts,
        by_hand,
        f"If the host is gone or was renamed, restore host by host with restore_all {fleet.record.id}, and"
        " add --from-host with the old name where its part is to be restored.",
    )
    others = [name for name in context.config.fleet if name not in hosts]
    return hosts, [f"The fleet backup has no part of {name}, where nothing is restored." for name in others]


def require_queues(
    context: BackupContext, hosts: tuple[str, ...], by_hand: tuple[str, ...], instead: str
) -> None:
    """Raise ``UsageError`` if ``HOSTS`` has no queue for one of ``hosts`` that is not in ``by_hand``.

    ``instead`` says what to do if the host is gone or was renamed.
    """
    lost = [host for host in hosts if host not in context.config.fleet and host not in by_hand]
    if lost:
        raise UsageError(
            f"{SETTING}['HOSTS'] declares no queue of the host {lost[0]!r}, which takes part.",
            unchanged="Nothing was changed on any host.",
            hint=f"Add it to HOSTS; or let an operator do its part there: --by-hand {lost[0]}. {instead}",
        )


def choose_restored(context: BackupContext, restore_id: str) -> FleetRestore:
    """Return the fleet restore to undo, by default the newest one. Raises ``UsageError`` if there is none."""
    store, trust = context.store, context.config.trust
    if restore_id:
        found = read_restore(store, trust, restore_id) if keys.is_id(restore_id) else None
        if found and found.action == RESTORE and found.decided:
            return found
        raise UsageError(
            f"There is no fleet restore {restore_id!r} that has changed something.",
            hint="Give the id that restore_all --fleet has shown. To undo the restore of one host, run"
            " undo_restore there without --fleet.",
        )
    for known in restore_ids(store, context.clock() - LONGEST):
        found = read_restore(store, trust, known)
        if found and found.action == RESTORE and found.decided:
            return found
    raise UsageError(
        "There is no fleet restore to undo.", hint="To undo the restore of one host: undo_restore."
    )


def find_unfinished(context: BackupContext) -> list[FleetRestore]:
    """Return the fleet restores and undos that have not ended, oldest first. Raises ``StorageError``."""
    found = []
    for restore_id in restore_ids(context.store, context.clock() - LONGEST):
        try:
            record = read_restore(context.store, context.config.trust, restore_id)
        except IntegrityError as error:
            context.progress.note(f"The fleet restore {restore_id} is left alone. {error}")
            continue
        if record and not record.ended:
            found.append(record)
    return found[::-1]


def _why(fleet: Fleet) -> str:
    if fleet.untrusted:
        return f"its record is not trusted: {fleet.untrusted}"
    return f"it is {fleet.record.outcome}"
