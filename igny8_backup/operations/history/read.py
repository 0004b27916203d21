"""Read all backups in storage, and judge which copies of databases and trees can be relied on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from igny8_backup.catalog.annotations import read_annotations, read_old_damage
from igny8_backup.catalog.backups import Entry
from igny8_backup.catalog.stored_checks import StoredCheck, checks_that_count, read_checks, reported_damage
from igny8_backup.common.garbage import fewer_collections
from igny8_backup.common.memory import release_free_memory
from igny8_backup.formats import keys
from igny8_backup.formats.documents.annotations import Annotations, Check, ObjectDamage
from igny8_backup.formats.documents.run_record import RunRecord
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.presence import absent_objects, altered_manifests, damaged_lists
from igny8_backup.operations.history.seen import Vanished, compare_and_remember, read_seen, with_seen_spots
from igny8_backup.operations.read.snapshot import take_snapshot, unlisted_folders
from igny8_backup.standing import Standings, judge
from igny8_backup.standing.damage import DamageFinder


@dataclass(frozen=True, kw_only=True)
class History:
    """All backups in storage, newest first, with their annotations, read at the time ``now``.

    ``standings`` say which copies can be relied on. ``stored_checks`` maps the ids of backups to their
    checks, also for removed backups. ``kept_damage`` is damage of removed backups in the format of earlier
    releases. ``absent`` is damage that was found without a check: objects that storage lacks or has with
    another size, altered manifests, and damaged lists. ``reported`` is damage in checks without a trusted
    signature, while ``TRUSTED`` is set. Such damage does not affect the standings.

    ``vanished`` are pins, damage and spot checks that this host saw earlier and whose records somebody has
    deleted. They are still in force. ``unread`` maps the keys of annotations that could not be read from
    storage to the reasons. Such an annotation could say that a backup is damaged.
    """

    now: datetime
    entries: list[Entry]
    annotations: dict[str, Annotations]
    standings: Standings
    stored_checks: dict[str, list[StoredCheck]] = field(default_factory=dict)
    kept_damage: tuple[ObjectDamage, ...] = ()
    reported: tuple[ObjectDamage, ...] = ()
    absent: tuple[ObjectDamage, ...] = ()
    vanished: Vanished = Vanished()
    unread: dict[str, str] = field(default_factory=dict)

    @property
    def manifests(self) -> list[Manifest]:
        """All manifests that can be read, newest first, also those that are dated in the future."""
        return [item.manifest for item in self.entries if item.manifest]

    @property
    def past_checks(self) -> tuple[Check, ...]:
        """The checks of removed backups, oldest first: only those whose signature and date are accepted."""
        return _past_checks(self.stored_checks, self.entries)


def untrusted_in(entries: Iterable[Entry]) -> dict[str, str]:
    """Return the reasons why backups are not trusted, by the id of the backup."""
    return {entry.id: entry.untrusted for entry in entries if entry.untrusted}


@fewer_collections()
def read_history(context: BackupContext, runs: Iterable[RunRecord] = ()) -> History:
    """Read all manifests and annotations, list the objects of backups, and judge every copy.

    ``runs`` are run records. A manifest without a trusted signature counts as damaged if its digest differs
    from the digest in the record of its run. An annotation that cannot be read is left out. If the storage
    failed to return it, ``unread`` of the result names it. Raises ``StorageError`` if the storage does not
    answer.
    """
    context = take_snapshot(context)
    now, store, unread = context.clock(), context.store, dict[str, str]()
    # The other objects of backups are contents, whose keys would be parsed in vain.
    listed = [item.key for item in store.list(keys.BACKUPS) if item.key.endswith((".json", ".sig"))]
    found = [parsed.backup_id for key in listed if (parsed := keys.parse(key)) and parsed.kind == "manifest"]
    unlisted = unlisted_folders(context)
    found += [key.split("/")[1] for key in unlisted if key.startswith(keys.BACKUPS)]
    entries = context.catalog.entries(dict.fromkeys(found))
    trust, known = context.config.trust, {entry.id: entry for entry in entries}
    memory = context.known_manifests
    checks = read_checks(
        store, trust=trust, entries=known, listed=listed, unread=unread, now=now, known=memory
    )
    annotations = read_annotations(
        store, trust=trust, entries=entries, listed=listed, checks=checks, unread=unread, now=now
    )
    manifests = [entry.manifest for entry in entries if entry.manifest]
    kept_damage, past = read_old_damage(store, unread=unread), _past_checks(checks, entries)
    absent = (
        *damaged_lists(manifests, now),
        *absent_objects(context, manifests, now),
        *altered_manifests(entries, runs, now),
    )
    unread |= unlisted
    seen = read_seen(context)
    release_free_memory()  # that of the documents
    annotations, hidden = with_seen_spots(seen, annotations, entries)
    standings = judge(
        manifests,
        annotations,
        now=now,
        shrink=context.config.shrink_of,
        damage=(*absent, *seen.damage, *(() if trust.required else kept_damage)),
        untrusted=untrusted_in(entries),
        past=past,
    )
    vanished = compare_and_remember(
        context,
        seen,
        entries=entries,
        annotations=annotations,
        standings=standings,
        checks=(*past, *(check for item in annotations.values() for check in item.checks)),
        hidden=hidden,
        now=now,
    )
    unsigned = [item for items in checks.values() for item in reported_damage(items)]
    unsigned += kept_damage if trust.required else ()
    return History(
        now=now,
        entries=entries,
        annotations=annotations,
        standings=standings,
        stored_checks=checks,
        kept_damage=kept_damage,
        reported=_uncleared(unsigned, DamageFinder(manifests, annotations, now, unsigned, past), manifests),
        absent=absent,
        vanished=vanished,
        unread=unread,
    )


def _uncleared(
    reported: list[ObjectDamage], finder: DamageFinder, manifests: Iterable[Manifest]
) -> tuple[ObjectDamage, ...]:
    """Return the ``reported`` damage that no later check has cleared, according to ``finder``.

    Damage of objects that none of the ``manifests`` names is left out.
    """
    if not reported:
        return ()
    named = ((item.id, key) for item in manifests for key in (keys.manifest_key(item.id), *_named(item)))
    held = {finder.of(backup_id, key) for backup_id, key in named}
    return tuple(item for item in dict.fromkeys(reported) if item in held)


def _named(manifest: Manifest) -> Iterable[str]:
    return manifest.named_keys()


def _past_checks(stored: dict[str, list[StoredCheck]], entries: Iterable[Entry]) -> tuple[Check, ...]:
    existing = {entry.id for entry in entries}
    return checks_that_count({key: items for key, items in stored.items() if key not in existing})


def recorded_damage(context: BackupContext) -> frozenset[str]:
    """Return the keys of all objects that a check of any backup, signed or not, reports as damaged.

    The damaged objects that this host remembers are included.
    """
    checks = _all_checks(context)
    found = {damage.key for damage in (*read_old_damage(context.store), *read_seen(context).damage)}
    found |= {damage.key for items in checks for item in items for damage in item.check.all_damage()}
    return frozenset(found)


def reported_objects(context: BackupContext) -> frozenset[str]:
    """Return the keys of the objects that checks without a trusted signature report as damaged.

    Returns nothing if ``TRUSTED`` is not set, because then checks need no signature.
    """
    if not context.config.trust.required:
        return frozenset()
    found = {damage.key for items in _all_checks(context) for damage in reported_damage(items)}
    return frozenset(found | {damage.key for damage in read_old_damage(context.store)})


def _all_checks(context: BackupContext) -> Iterable[list[StoredCheck]]:
    context = take_snapshot(context)
    store, trust = context.store, context.config.trust
    entries = {entry.id: entry for entry in context.catalog.entries()} if trust.required else {}
    listed = [item.key for item in store.list(keys.BACKUPS)]
    now, memory = context.clock(), context.known_manifests
    return read_checks(store, trust=trust, entries=entries, listed=listed, now=now, known=memory).values()
