"""Find the recorded damage that no later check has cleared.

Damage belongs to an object in storage, which several backups may need.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from igny8_backup.common.clock_skew import is_ahead
from igny8_backup.formats import keys
from igny8_backup.formats.documents.annotations import (
    DEPTHS,
    STORED,
    UNREADABLE,
    Annotations,
    Check,
    CheckedPart,
    ObjectDamage,
)
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.listed_packs import sizes_of
from igny8_backup.formats.parts.tree import TreePart


class DamageFinder:
    """Finds the damage that checks and listings have recorded and that no later check has cleared.

    ``past`` are checks of backups that were removed. ``also`` is damage that no check has recorded, such as
    objects that a listing of the storage lacks. A check dated after ``now`` clears no damage.
    """

    def __init__(
        self,
        manifests: Iterable[Manifest],
        annotations: Mapping[str, Annotations],
        now: datetime,
        also: Iterable[ObjectDamage] = (),
        past: Iterable[Check] = (),
    ) -> None:
        self._found: defaultdict[str, list[ObjectDamage]] = defaultdict(list)
        self._sound: defaultdict[str, list[tuple[datetime, int, str]]] = defaultdict(list)
        known = {manifest.id: manifest for manifest in manifests}
        for item in also:
            self._found[item.key].append(item)
        for check in (*past, *(check for found in annotations.values() for check in found.checks)):
            for damage in check.all_damage():
                self._found[damage.key].append(damage)
            if not is_ahead(check.started, now):
                for key in _sound_keys(check, known.get(check.id)):
                    self._sound[key].append((check.started, _rank(check.depth), check.id))

    @property
    def found_any(self) -> bool:
        """Whether anything was damaged at any time."""
        return bool(self._found)

    def of(self, backup_id: str, key: str) -> ObjectDamage | None:
        """Return the newest damage of the object ``key`` that is not cleared for this backup, if any."""
        holding = [item for item in self._found.get(key, ()) if not self._cleared(item, backup_id)]
        return max(holding, key=lambda item: item.found, default=None)

    def _cleared(self, damage: ObjectDamage, backup_id: str) -> bool:
        """Return whether a later check has read the object and found it undamaged.

        Contents that could not be read are cleared only by a check of the same backup, because its index
        describes the contents. That check must be at least as thorough as the one that found the damage. All
        other damage is cleared by a check of any backup: it shows that the stored bytes are the right ones.
        """
        for started, rank, checked in self._sound.get(damage.key, ()):
            proves = damage.kind != UNREADABLE or (checked == backup_id and rank >= _rank(damage.depth))
            if started > damage.found and proves:
                return True
        return False


def keys_of(manifest: Manifest, part: DatabasePart | TreePart) -> Iterator[str]:
    """Yield the keys of all objects that a restore of ``part`` needs.

    They are its own objects, the manifest, the details, and the lists that describe these objects.
    """
    yield from own_keys_of(manifest, part)
    yield from (key for key, _ in sizes_of(part.needed_packs))


def own_keys_of(manifest: Manifest, part: DatabasePart | TreePart) -> Iterator[str]:
    """Yield the keys of all objects that a restore of ``part`` needs, without packs."""
    yield keys.manifest_key(manifest.id)
    yield manifest.details.key
    if manifest.blocks:
        yield manifest.blocks.key
    yield from (item.key for item in part.own_objects())
    yield from (item.key for item in part.lists())


def concerns(key: str, parts: Iterable[CheckedPart]) -> bool:
    """Return whether a restore of one of ``parts`` may need the object ``key``, judging by the key alone."""
    parsed = keys.parse(key)
    if parsed is None or parsed.kind in ("manifest", "details", "blocks", "list"):
        return True
    kind = DatabasePart.kind if parsed.kind in ("database", "runs", "chunk") else TreePart.kind
    return CheckedPart(kind=kind, name=parsed.name) in parts


def is_of_removed_backup(key: str, check: Check) -> bool:
    """Return whether ``key`` may be an object of the backup of ``check``, whose manifest is gone.

    The key of a host may sign checks of the backups of this host only, so it must not decide about objects of
    other hosts. A check of an earlier release does not name the host.
    """
    own = (keys.backup_folder(check.id), f"{keys.PACKS}{check.host}/" if check.host else keys.PACKS)
    return key.startswith(own)


def _sound_keys(check: Check, manifest: Manifest | None) -> set[str]:
    if manifest is None:  # a check of a removed backup clears what it names
        sound, parts = check.sound or (), check.parts or ()
        return {key for key in sound if is_of_removed_backup(key, check) and concerns(key, parts)}
    named = [
        item.key for item in manifest.objects() if check.parts is None or concerns(item.key, check.parts)
    ]
    found = check.sound_among(named)
    if check.depth in DEPTHS[:2]:  # a verification always reads the manifest; a drill trusts it
        own = keys.manifest_key(manifest.id)
        found |= {own} - {item.key for item in check.damage}
    return found


def _rank(depth: str) -> int:
    return DEPTHS.index(depth) if depth in DEPTHS else DEPTHS.index(STORED)
