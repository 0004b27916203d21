"""Read the records of fleet backups: backups that several hosts make together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from igny8_backup.catalog.signatures import judge_document
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.fleet import SCHEMA, FleetRecord
from igny8_backup.formats.manifest import RUNNING
from igny8_backup.signing.trust import FLEET, Trust
from igny8_backup.store import MissingObjectError, Store


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """The record of a fleet backup. ``untrusted`` says why its signature does not count; empty if it does.

    A record only says which backups belong together: each of them has a manifest with a signature of its own.
    """

    record: FleetRecord
    untrusted: str = ""


def read_fleet(store: Store, trust: Trust, fleet_id: str) -> Fleet | None:
    """Read the record of the fleet backup ``fleet_id``; ``None`` if there is none.

    Records of running fleet backups are not signed yet. Raises ``IntegrityError`` if the record is damaged,
    and ``StorageError``.
    """
    key = keys.fleet_key(fleet_id)
    try:
        data = store.read_small(key)
    except MissingObjectError:
        return None
    record = records.from_json(FleetRecord, data, name=f"The record {key}", schema=SCHEMA)
    if record.id != fleet_id:
        raise IntegrityError(f"The record {key} is that of another fleet backup, {record.id!r}.")
    if not trust.required or record.outcome == RUNNING:
        return Fleet(record=record)
    verdict = judge_document(store, trust, key, FLEET, data, host=record.host, parts=())
    return Fleet(record=record, untrusted=verdict.problem)


def read_fleets(
    store: Store,
    trust: Trust,
    *,
    since: datetime | None = None,
    ids: Collection[str] = (),
    unread: dict[str, str] | None = None,
) -> list[Fleet]:
    """Read the records of fleet backups, newest first: of all, or of those that began after ``since``.

    With ``since``, the records of the fleet backups ``ids`` are read as well. The id of a record that is
    damaged is added to ``unread``, with the reason. Raises ``StorageError`` if the storage cannot be read.
    """
    found = sorted(fleet_ids(store), reverse=True)
    if since is not None:
        found = [one for one in found if one in ids or keys.id_time(one) >= since.replace(microsecond=0)]
    store.prefetch(map(keys.fleet_key, found))
    return list(iter_fleets(store, trust, found, unread=unread))


def iter_fleets(
    store: Store, trust: Trust, ids: Iterable[str], *, unread: dict[str, str] | None = None
) -> Iterator[Fleet]:
    """Yield the records of the fleet backups ``ids``, each read when it is asked for, like ``read_fleets``.

    Ids without a record are left out: those of fleet restores, for example.
    """
    for fleet_id in ids:
        try:
            if fleet := read_fleet(store, trust, fleet_id):
                yield fleet
        except IntegrityError as error:
            if unread is not None:
                unread[fleet_id] = str(error)


def fleet_ids(store: Store) -> Iterator[str]:
    """Yield the ids of all fleet backups and fleet restores. Raises ``StorageError``."""
    names = (name.strip("/").rsplit("/", 1)[-1] for name in store.list_dirs(keys.FLEETS))
    return filter(keys.is_id, names)
