"""The conditions of a fleet: whether each host took part in its newest fleet backup, and the coordinator."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice

from igny8_backup.catalog.fleets import Fleet, fleet_ids, iter_fleets
from igny8_backup.common.clock_skew import is_ahead
from igny8_backup.errors import StorageError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.fleet import FleetRecord
from igny8_backup.formats.manifest import COMPLETE, RUNNING
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.monitor.health import Condition

_LOOKED_AT = 40
"""At most this many records are read, the newest ones, to find one that names each host."""


def fleet_conditions(context: BackupContext, now: datetime) -> Iterator[Condition]:
    """Check that every host of the fleet took part in the newest fleet backup that asked it to.

    Also checks whether the newest record can be read and is trusted, and whether its coordinator is alive.
    Yields nothing if ``HOSTS`` declares no fleet.
    """
    if not context.config.fleet:
        return
    unread: dict[str, str] = {}
    try:
        newest, of_hosts = _read(context, now, unread)
    except StorageError as error:
        yield Condition("fleet", "all hosts", False, str(error))
        return
    if unread:
        text = "; ".join(f"the record of {one} cannot be read: {why}" for one, why in unread.items())
        yield Condition("fleet", "all hosts", False, text)
    elif newest is None:
        yield Condition("fleet", "all hosts", False, "no fleet backup was made yet: backup_fleet makes one")
    elif newest.untrusted:
        text = f"the record of the fleet backup {newest.record.id} is not trusted: {newest.untrusted}"
        yield Condition("fleet", "all hosts", False, text)
    if newest is not None:
        yield _coordinator_condition(newest.record, now)
        for host in context.config.fleet:
            yield _host_condition(host, of_hosts.get(host))


def _read(
    context: BackupContext, now: datetime, unread: dict[str, str]
) -> tuple[Fleet | None, dict[str, FleetRecord]]:
    """Return the newest record, and for each host the newest record of a fleet backup that has ended.

    A record that is dated in the future is left out: it would hide all others. Ids of damaged records are
    added to ``unread``, with the reasons.
    """
    ids = (
        one for one in sorted(fleet_ids(context.store), reverse=True) if not is_ahead(keys.id_time(one), now)
    )
    newest: Fleet | None = None
    of_hosts: dict[str, FleetRecord] = {}
    for fleet in iter_fleets(context.store, context.config.trust, islice(ids, _LOOKED_AT), unread=unread):
        newest = newest or fleet
        if fleet.record.outcome == RUNNING or fleet.untrusted:
            continue
        for part in fleet.record.parts:
            of_hosts.setdefault(part.host, fleet.record)
        if context.config.fleet.keys() <= of_hosts.keys():
            break
    return newest, of_hosts


def _coordinator_condition(record: FleetRecord, now: datetime) -> Condition:
    stopped = record.outcome == RUNNING and not record.is_alive(now)
    if stopped:
        text = (
            f"the coordinator of the fleet backup {record.id} has not reported since"
            f" {record.heartbeat:%Y-%m-%d %H:%M:%S} UTC; the next backup_fleet completes its record"
        )
    elif record.outcome == RUNNING:
        text = f"the fleet backup {record.id} is being made"
    else:
        text = f"the fleet backup {record.id} ended {record.outcome}"
    return Condition("coordinator", f"host {record.host}", not stopped, text)


def _host_condition(host: str, record: FleetRecord | None) -> Condition:
    if record is None:
        text = "no fleet backup has asked for its part yet"
        return Condition("fleet", f"host {host}", False, text)
    missing = [part for part in record.missing() if part.host == host]
    text = f"its part of the fleet backup {record.id} is {COMPLETE}"
    if missing:
        what = "; ".join(
            f"{part.kind} {', '.join(part.names)} {part.state}: {part.reason}" for part in missing
        )
        text = f"its part of the fleet backup {record.id} is missing: {what}"
    return Condition("fleet", f"host {host}", not missing, text)
