"""Find out which databases and trees verifications and drills have checked, and whether they were undamaged.

A check is a verification or drill of one backup. Its result applies only to the parts (databases and trees)
of that backup.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from igny8_backup.catalog.backups import Entry
from igny8_backup.formats import keys
from igny8_backup.formats.documents.annotations import Annotations, Check, CheckedPart
from igny8_backup.formats.manifest import COMPLETE, Manifest
from igny8_backup.retention.policy import Part
from igny8_backup.standing.damage import concerns, keys_of


@dataclass(frozen=True, kw_only=True)
class PartCheck:
    """A check of one database or tree.

    ``copied`` is the time when the checked backup started. ``sound`` is true if no object that a restore of
    the part needs was found damaged.
    """

    part: Part
    check: Check
    copied: datetime
    sound: bool


def part_keys(manifest: Manifest) -> dict[CheckedPart, set[str]]:
    """Return the keys of all objects that each complete part needs, the manifest and details included."""
    return {
        CheckedPart(kind=part.kind, name=part.name): set(keys_of(manifest, part))
        for part in manifest.parts
        if part.state == COMPLETE
    }


def part_checks(
    entries: list[Entry], annotations: dict[str, Annotations], history: tuple[Check, ...]
) -> Iterator[PartCheck]:
    """Yield a ``PartCheck`` for each check and each part that it covered.

    ``entries`` are the existing backups, and ``annotations`` contain their checks. Of the checks in
    ``history``, only those of removed backups are used.
    """
    for entry in entries:
        if entry.manifest and entry.id in annotations:
            for check in annotations[entry.id].checks:
                yield from _of_backup(check, entry.manifest)
    existing = {entry.id for entry in entries}
    for check in history:
        if check.id not in existing:
            for item in check.parts or ():
                part = Part(host=check.host, kind=item.kind, name=item.name)
                sound = item in sound_names(check)
                yield PartCheck(part=part, check=check, copied=keys.id_time(check.id), sound=sound)


def sound_names(check: Check) -> tuple[CheckedPart, ...]:
    """Return the parts that a check of a removed backup found undamaged.

    The manifest is gone, so the keys of the damaged objects show which parts they belong to.
    """
    damaged = [damage.key for damage in check.all_damage()]
    return tuple(item for item in check.parts or () if not any(concerns(key, [item]) for key in damaged))


def sound_parts(check: Check, manifest: Manifest) -> tuple[CheckedPart, ...]:
    """Return the parts that the check covered and found undamaged."""
    found = (item for item in _of_backup(check, manifest) if item.sound)
    return tuple(CheckedPart(kind=item.part.kind, name=item.part.name) for item in found)


def _of_backup(check: Check, manifest: Manifest) -> Iterator[PartCheck]:
    damaged = {damage.key for damage in check.all_damage()}
    for item, needed in part_keys(manifest).items():
        if check.parts is None or item in check.parts:
            part = Part(host=manifest.host, kind=item.kind, name=item.name)
            yield PartCheck(part=part, check=check, copied=manifest.started, sound=not (needed & damaged))
