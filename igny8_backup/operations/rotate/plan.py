"""Plan a rotation of recipients: which backups can get the recipients of the settings, and which cannot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from igny8_backup.catalog.backups import Entry
from igny8_backup.errors import UsageError
from igny8_backup.formats import keys
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.objects import StoredObject
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.rotate.blockers import Blockers
from igny8_backup.streams.age import Identity, require_rotatable

KEPT_COPIES = (
    "Whoever has an identity of the removed recipients and a copy of the old objects can still read them: on"
    " another storage, in an older version in a bucket, in a download."
)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Backups that share packs (tar archives of files), so that all of them are rotated, or none.

    ``objects`` is the number of objects that are read and stored again, ``bytes`` their total size.
    """

    ids: tuple[str, ...]
    objects: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class RotationPlan:
    """Which backups get the ``recipients`` of the settings.

    ``left`` maps the id of each backup that needs no rotation to the reason. ``refused`` does the same for
    backups that cannot be rotated.
    """

    recipients: tuple[str, ...]
    groups: tuple[Group, ...]
    left: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the backups that will be rotated."""
        return tuple(backup_id for group in self.groups for backup_id in group.ids)

    @property
    def bytes(self) -> int:
        """The size of all objects that will be read and stored again."""
        return sum(group.bytes for group in self.groups)

    @property
    def objects(self) -> int:
        return sum(group.objects for group in self.groups)

    def require_feasible(self) -> None:
        """Do nothing: backups that cannot be rotated do not prevent the rotation of others."""

    def problems(self) -> list[str]:
        """Return one line for each backup that cannot be rotated."""
        return [f"NOT ROTATED: backup {backup_id}: {reason}." for backup_id, reason in self.refused.items()]


def plan_rotation(
    context: BackupContext, identity_file: Path | None, ids: Sequence[str] = ()
) -> tuple[RotationPlan, list[Identity]]:
    """Plan to give the backups ``ids``, or all backups, the recipients in the settings.

    Backups that share packs with these are included. Also returns the identities, which are loaded from
    ``identity_file`` or the file in the settings. Reads the beginning of one object of each backup.

    Raises ``UsageError`` if the settings have no recipients, if a recipient is the key of a plugin, or if an
    id is unknown. Also raises ``IdentityError`` and ``StorageError``.
    """
    recipients = context.config.recipients
    if not recipients:
        hint = "Set IGNY8_BACKUP['ENCRYPTION']['RECIPIENTS'] to the keys to which to encrypt backups."
        raise UsageError("The settings name no recipients.", unchanged="Nothing was changed.", hint=hint)
    require_rotatable(recipients)
    identities = context.identities(identity_file, needed=True)
    entries = context.catalog.entries()
    if unknown := set(ids) - {entry.id for entry in entries}:
        raise UsageError(
            f"There is no backup {min(unknown)!r} in {context.store.describe()}.",
            unchanged="Nothing was changed.",
            hint="List the ids with: python manage.py list_backups.",
        )
    blockers = Blockers(context, identities, entries)
    left: dict[str, str] = {}
    refused = {
        entry.id: "its manifest, or a list that the manifest names, cannot be read"
        for entry in entries
        if entry.manifest is None and (not ids or entry.id in ids)
    }
    groups: list[Group] = []
    for members in grouped(entries):
        if ids and not {entry.id for entry in members} & set(ids):
            continue
        if settled := _settled(members, recipients):
            left |= settled
        elif reason := blockers.find(members):
            refused |= {entry.id: reason for entry in members}
        else:
            groups.append(_group(members))
    return RotationPlan(recipients=recipients, groups=tuple(groups), left=left, refused=refused), identities


def grouped(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Return the readable backups in groups; those that share a pack or a list of packs are in one group."""
    by_key: dict[str, int] = {}
    groups: defaultdict[int, list[Entry]] = defaultdict(list)
    for number, entry in enumerate(entries):
        if entry.manifest is None:
            continue
        shared = {key for key in entry.manifest.named_keys() if key.startswith(keys.PACKS)}
        joined = {by_key[key] for key in shared if key in by_key}
        for other in joined:
            groups[number] += groups.pop(other)
        groups[number].append(entry)
        by_key = {key: number if group in joined else group for key, group in by_key.items()}
        by_key |= dict.fromkeys(shared, number)
    return list(groups.values())


def _settled(members: Iterable[Entry], recipients: Sequence[str]) -> dict[str, str]:
    """Return by id why no backup of a group needs a rotation; an empty dict if one of them needs it."""
    found: dict[str, str] = {}
    for entry in members:
        manifest = entry.manifest
        if manifest and not any("age" in item.codecs for item in manifest.contents()):
            found[entry.id] = "it is not encrypted"
        elif manifest and set(manifest.recipients) == set(recipients) and not entry.untrusted:
            found[entry.id] = "it is encrypted to these recipients"
        else:
            return {}
    return found


def _group(members: Sequence[Entry]) -> Group:
    objects = contents_of(entry.manifest for entry in members if entry.manifest)
    return Group(
        ids=tuple(entry.id for entry in members),
        objects=len(objects),
        bytes=sum(item.stored_bytes for item in objects.values()),
    )


def contents_of(manifests: Iterable[Manifest]) -> dict[str, StoredObject]:
    """Return the encrypted objects of the backups, by key."""
    return {item.key: item for manifest in manifests for item in manifest.contents()}
