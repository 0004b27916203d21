"""Remember, on this host, the pins and the damage that it saw in a storage.

Anyone who can delete from the storage can remove a pin, to have the backup pruned, or the record of damage,
to make a damaged backup look good. So a pin or damage that this host once saw stays in force for this host,
until a release ends the pin, or a later check reads the damaged object and finds it undamaged. The memory is
a private file in ``STATE_DIR`` for each storage and ``PREFIX``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from igny8_backup.catalog.backups import Entry
from igny8_backup.catalog.removals import Removals
from igny8_backup.common.filesystem import replace_file
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.annotations import Annotations, Check, ObjectDamage, Pin
from igny8_backup.formats.documents.spot_check import UNPROVEN, SpotCheck
from igny8_backup.operations.context import BackupContext
from igny8_backup.standing import Standings

SCHEMA = 1
_FOLDER = "seen"


@dataclass(frozen=True, kw_only=True)
class SeenAnnotations:
    """The file in ``STATE_DIR``: the pins and the damage that this host saw in one storage.

    ``spots`` are the newest spot checks with alarms, one for each backup. A spot check compares a backup with
    the live data.
    """

    schema: int
    pins: tuple[Pin, ...] = ()
    damage: tuple[ObjectDamage, ...] = ()
    spots: tuple[SpotCheck, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Vanished:
    """Pins, damage and spot checks that this host remembers, but whose records are gone from storage."""

    pins: tuple[Pin, ...] = ()
    damage: tuple[ObjectDamage, ...] = ()
    spots: tuple[SpotCheck, ...] = ()

    def texts(self, where: str) -> list[str]:
        """Return a text about each pin, damaged object and spot check, which also says what to do.

        ``where`` describes the storage.
        """
        found = [
            f"The pin of backup {pin.id} ({pin.reason}) is gone from {where}, and nothing says that somebody"
            f" ended it. This host still keeps the backup. Pin it again: pin_backup {pin.id} --reason ...; or"
            f" end the pin: pin_backup {pin.id} --unpin."
            for pin in self.pins
        ]
        found += [
            f"The record that {item.key} is {item.kind} is gone from {where}, and no later check has read the"
            f" object. To check it: verify_backup {item.backup_id} or another backup that needs it."
            for item in self.damage
        ]
        found += [
            f"The record of spot_check of backup {spot.id} of {spot.finished:%Y-%m-%d %H:%M} UTC is gone from"
            f" {where}, or somebody has stored an older one in its place. On this host the alarms of the"
            " missing record still count. Run spot_check again."
            for spot in self.spots
        ]
        return found


def read_seen(context: BackupContext) -> SeenAnnotations:
    """Return what this host remembers of the storage; an empty memory if the file is missing or damaged."""
    path = _file(context)
    try:
        return records.from_json(SeenAnnotations, path.read_bytes(), name=str(path), schema=SCHEMA)
    except (OSError, IntegrityError):
        return SeenAnnotations(schema=SCHEMA)


def with_seen_spots(
    seen: SeenAnnotations, annotations: Mapping[str, Annotations], entries: Iterable[Entry]
) -> tuple[dict[str, Annotations], tuple[SpotCheck, ...]]:
    """Return ``annotations``, with remembered spot checks in place of older ones and of missing ones.

    Without this, an attacker could store an older signed record again, to hide the alarms of a newer one. The
    second value are the remembered spot checks that were put in.
    """
    found, existing = dict(annotations), {entry.id for entry in entries}
    hidden = []
    for spot in seen.spots:
        stored = found.get(spot.id, Annotations())
        if spot.id in existing and (stored.spot is None or stored.spot.finished < spot.finished):
            others = stored.spot.findings if stored.spot else ()
            findings = tuple(dict.fromkeys((*spot.findings, *others)))
            found[spot.id] = replace(stored, spot=replace(spot, findings=findings))
            hidden.append(spot)
    return found, tuple(hidden)


def remember_spot_check(context: BackupContext, spot: SpotCheck) -> None:
    """Remember a spot check of this host if it has alarms. An error of writing the file is ignored."""
    if spot.findings:
        seen = read_seen(context)
        others = (other for other in seen.spots if other.id != spot.id)
        changed = replace(seen, spots=tuple(sorted((*others, spot), key=lambda item: item.id)))
        with suppress(OSError):
            replace_file(_file(context), records.to_json(changed))


def compare_and_remember(
    context: BackupContext,
    seen: SeenAnnotations,
    *,
    entries: Sequence[Entry],
    annotations: Mapping[str, Annotations],
    standings: Standings,
    checks: Iterable[Check],
    hidden: tuple[SpotCheck, ...] = (),
    now: datetime | None = None,
) -> Vanished:
    """Return what ``seen`` contains and storage has lost, and update what this host remembers.

    The new memory contains the pins, damage and spot checks in storage now, and the lost ones. ``standings``
    say which copies can be relied on; the damage in ``seen`` was taken into account. ``checks`` are all
    checks whose signature and date are accepted. ``hidden`` are the spot checks that :func:`with_seen_spots`
    put in. ``now`` is the time at which the annotations were read. If the file of the memory cannot be
    written, it stays as it was, without an error. Raises ``StorageError``.
    """
    recorded = {item.key for check in checks for item in check.all_damage()}
    clock = context.clock()
    damaged = {
        item
        for copy in standings.copies
        for item in copy.damage
        if item.backup_id and item.found <= clock  # no check now could clear what is dated later
    }
    gone = tuple(item for item in seen.damage if item in damaged and item.key not in recorded)
    pins = tuple(pin for pin in seen.pins if _is_gone(context, pin, entries, annotations))
    there = {found.pin for found in annotations.values() if found.pin}
    spots = (found.spot for found in annotations.values() if found.spot and _is_proven(found.spot, now))
    current = SeenAnnotations(
        schema=SCHEMA,
        pins=tuple(sorted({*there, *pins}, key=lambda pin: pin.id)),
        # An empty storage, such as a disk that is not mounted, ends no damage.
        damage=tuple(sorted(damaged, key=lambda item: (item.key, item.found))) if entries else seen.damage,
        spots=tuple(sorted(spots, key=lambda spot: spot.id)) if entries else seen.spots,
    )
    if current != seen:
        with suppress(OSError):
            replace_file(_file(context), records.to_json(current))
    existing = {entry.id for entry in entries}
    return Vanished(pins=tuple(pin for pin in pins if pin.id in existing), damage=gone, spots=hidden)


def _is_proven(spot: SpotCheck, now: datetime | None) -> bool:
    """Return whether a spot check has alarms, and the stored record of the check proves all of them.

    If the record is missing or not trusted, an alarm ``UNPROVEN`` was added when the record was read, at
    ``now``.
    """
    return bool(spot.findings) and not any(
        item.cause == UNPROVEN and item.found == now for item in spot.findings
    )


def _is_gone(
    context: BackupContext, pin: Pin, entries: Sequence[Entry], annotations: Mapping[str, Annotations]
) -> bool:
    """Return whether a remembered pin is gone from storage, although nothing ended it.

    A pin is ended by a release, or by a record that its backup was removed.
    """
    found = annotations.get(pin.id, Annotations())
    if found.pin or (found.release and found.release.released >= pin.pinned):
        return False
    if any(entry.id == pin.id for entry in entries):
        return True
    run = context.catalog.run(pin.id) if keys.is_id(pin.id) else None
    return not Removals(context.store, context.config.trust).explain(pin.id, run)


def _file(context: BackupContext) -> Path:
    digest = hashlib.sha256(context.store.identity().encode()).hexdigest()[:16]
    return context.config.state_dir / _FOLDER / f"{digest}.json"
