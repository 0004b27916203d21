"""Format fleet backups as text, for ``list_backups`` and ``show_backup``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from igny8_backup.catalog.backups import Entry
from igny8_backup.catalog.fleets import Fleet
from igny8_backup.common.humanize import age_in_words, count_in_words, listed, time_taken
from igny8_backup.formats.documents.fleet import FleetPart, FleetRecord
from igny8_backup.formats.manifest import COMPLETE, RUNNING
from igny8_backup.management.tables import table

_PARTS_SHOWN = 5
"""At most this many missing parts are listed in a line."""


def by_fleet(entries: Sequence[Entry]) -> list[tuple[str, list[Entry]]]:
    """Group backups by the id of their fleet backup; all others form groups with the id ``""``.

    Each group stands where its first backup stood. Backups that are no parts keep their order.
    """
    groups: list[tuple[str, list[Entry]]] = []
    of_fleet: dict[str, list[Entry]] = {}
    for entry in entries:
        fleet_id = entry.manifest.fleet if entry.manifest else ""
        if fleet_id in of_fleet:
            of_fleet[fleet_id].append(entry)
        elif not fleet_id and groups and not groups[-1][0]:
            groups[-1][1].append(entry)
        else:
            groups.append((fleet_id, [entry]))
            if fleet_id:
                of_fleet[fleet_id] = groups[-1][1]
    return groups


def fleet_row(fleet: Fleet, now: datetime) -> tuple[str, ...]:
    """Return the row of the table of backups that precedes the parts of a fleet backup."""
    record = fleet.record
    age = age_in_words(record.started, now)
    return (record.id, age, "fleet", _hosts(record), "", _state(fleet, now), record.label)


def fleet_table(fleets: Iterable[Fleet], now: datetime) -> str:
    """Return a table with a line for each fleet backup."""
    rows = [
        (
            fleet.record.id,
            age_in_words(fleet.record.started, now),
            _hosts(fleet.record),
            _state(fleet, now),
            fleet.record.label,
        )
        for fleet in fleets
    ]
    return table(("ID", "AGE", "HOSTS", "STATE", "LABEL"), rows)


def unfinished_lines(fleets: Iterable[Fleet], now: datetime) -> Iterator[str]:
    """Yield a line for each fleet backup that is not complete, with the parts that are missing and why."""
    for fleet in fleets:
        record = fleet.record
        if record.outcome == COMPLETE:
            continue
        if record.outcome == RUNNING and not record.is_alive(now):
            yield (
                f"STOPPED: the coordinator of the fleet backup {record.id}, on host {record.host}, has not"
                f" reported since {record.heartbeat:%Y-%m-%d %H:%M:%S} UTC. The next backup_fleet completes"
                " its record."
            )
            continue
        missing = listed([_reason(part) for part in record.missing()], _PARTS_SHOWN)
        yield f"{record.outcome.upper()}: the fleet backup {record.id}, not complete: {missing}"


def fleet_lines(fleet: Fleet, now: datetime) -> Iterator[str]:
    """Yield lines about a fleet backup and all of its parts, first those that are missing."""
    record = fleet.record
    yield f"Fleet backup {record.id}{f' ({record.label})' if record.label else ''}"
    took = f", took {time_taken(record.finished - record.started)}" if record.finished else ""
    yield f"  coordinated by host {record.host}, environment {record.environment}{took}"
    yield f"  {_hosts(record)}: {_state(fleet, now)}"
    if fleet.untrusted:
        yield f"  the record is not trusted: {fleet.untrusted}"
    missing = record.missing()
    yield from (f"  {_reason(part)}" for part in missing)
    for part in record.parts:
        if part not in missing:
            yield f"  {part.describe()}: {part.state}, backup {part.backup_id}"


def _reason(part: FleetPart) -> str:
    backup = f", backup {part.backup_id}" if part.backup_id else ""
    return f"{part.describe()}: {part.state.upper()}{backup}{f': {part.reason}' if part.reason else ''}"


def _state(fleet: Fleet, now: datetime) -> str:
    record = fleet.record
    done, parts = len(record.parts) - len(record.missing()), len(record.parts)
    text = record.outcome if record.outcome in (COMPLETE, RUNNING) else record.outcome.upper()
    if record.outcome == RUNNING and not record.is_alive(now):
        text = "STOPPED"
    if record.outcome != COMPLETE:
        text += f", {done} of {count_in_words(parts, 'part')} complete"
    return f"{text}, UNTRUSTED" if fleet.untrusted else text


def _hosts(record: FleetRecord) -> str:
    return count_in_words(len({part.host for part in record.parts}), "host")
