"""Keep the checks and the run records of removed backups for a time, and delete them when they are old."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from igny8_backup.catalog.annotations import read_old_damage
from igny8_backup.catalog.backups import Entry
from igny8_backup.catalog.checked import sound_names
from igny8_backup.catalog.stored_checks import StoredCheck, read_checks
from igny8_backup.common.clock_skew import is_ahead
from igny8_backup.conf import Config
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.annotations import CheckedPart
from igny8_backup.formats.documents.run_record import RunRecord
from igny8_backup.formats.manifest import COMPLETE, Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.presence import lost_backups
from igny8_backup.operations.maintain.pruning.old_fleets import forget_fleets
from igny8_backup.store import MissingObjectError, Store

RECORDS_KEPT = timedelta(days=90)
"""The least age at which the record of a run is deleted, once its backup is gone. The record of the newest
run of each database and tree is always kept."""


def keep_checks(context: BackupContext, manifest: Manifest, checks: Sequence[StoredCheck]) -> None:
    """Copy the checks in the folder of a backup to the folder ``checks``, before the backup is removed.

    Only earlier releases stored checks, unsigned, in the folder of the backup. Other checks are already in
    the folder ``checks``, which stays when the backup is removed. Raises ``StorageError``.
    """
    every = tuple(
        CheckedPart(kind=item.kind, name=item.name) for item in manifest.parts if item.state == COMPLETE
    )
    for item in checks:
        parsed = keys.parse(item.key)
        if parsed and parsed.kind == "old_check":
            parts = every if item.check.parts is None else item.check.parts
            kept = replace(item.check, host=manifest.host, parts=parts)
            key = keys.check_key(kept.id, kept.started, kept.depth)
            context.store.put_small(key, records.to_json(kept))


def forget_old_records(
    context: BackupContext, snapshot: BackupContext, check_locks: Callable[[], None]
) -> None:
    """Delete old run records, checks and records of fleet backups that nothing needs any more.

    ``snapshot`` shows the storage after backups and orphans were removed. ``check_locks`` raises if a lock
    was lost. Raises ``StorageError``.
    """
    entries, runs = snapshot.catalog.entries(), snapshot.catalog.runs()
    # The record of a backup that is lost shows that it existed, until its loss is accepted.
    existing = {entry.id for entry in entries} | {run.id for run in lost_backups(snapshot, entries, runs)}
    _forget_runs(context, runs, existing, check_locks)
    _ChecksToForget(context, snapshot.store, entries, check_locks).delete()
    forget_fleets(context, entries, existing, check_locks, kept_for=_kept_for(context.config))


def _forget_runs(
    context: BackupContext,
    runs: Sequence[RunRecord],
    existing: Collection[str],
    check_locks: Callable[[], None],
) -> None:
    """Delete old run records whose backups are gone, except the newest record of each database and tree.

    ``runs`` are all run records, newest first, ``existing`` the ids of backups, those that are lost included.
    """
    seen: set[tuple[str, str]] = set()
    for run in runs:
        parts = {(run.host, name) for name in run.requested}
        old = context.clock() - run.started > _kept_for(context.config)
        if run.id not in existing and parts <= seen and old:
            check_locks()
            context.store.delete(keys.run_key(run.id))
        # A record that is dated in the future must not make the newest real one look old.
        seen |= set() if is_ahead(run.started, context.clock()) else parts


@dataclass(frozen=True)
class _ChecksToForget:
    """Deletes checks that newer checks have replaced, and old checks of removed backups.

    For each database and tree, the newest check of each depth (``stored``, ``content``, ``drill``) is kept. A
    check that found damage is kept while the damaged object exists, or while a manifest names this object.
    ``snapshot`` is the storage before anything is deleted.
    """

    context: BackupContext
    snapshot: Store
    entries: Sequence[Entry]
    check_locks: Callable[[], None]

    def delete(self) -> None:
        store = self.snapshot
        listed = [item.key for item in store.list(keys.CHECKS)]
        known = {entry.id: entry for entry in self.entries}
        unread: dict[str, str] = {}
        old = read_old_damage(store, unread=unread)
        found = read_checks(
            store, trust=self.context.config.trust, entries=known, now=self.context.clock(), unread=unread
        )
        if unread:
            return  # what cannot be read may be newer than what would be deleted
        kept = {item.key for items in found.values() for item in items}
        counting = {item.key for items in found.values() for item in items if not item.problem}
        newest = {_series(key): key for key in sorted(counting)}
        for key in listed:
            parsed = keys.parse(key)
            if parsed and parsed.kind == "check" and key not in kept and key < newest.get(_series(key), ""):
                self._delete_check(key)
        remaining = [item for items in found.values() for item in items]
        self._delete_past(sorted(remaining, key=lambda item: item.check.started, reverse=True), known)
        self._delete_signatures(known)
        if old and not self._is_needed({damage.key for damage in old}):
            self.check_locks()
            self.context.store.delete(keys.DAMAGE)

    def _delete_past(self, checks: list[StoredCheck], existing: Collection[str]) -> None:
        """Delete old checks of removed backups among ``checks``, which are sorted newest first."""
        now, limit = self.context.clock(), _kept_for(self.context.config)
        seen: set[tuple[str, str, str, str]] = set()
        for item in checks:
            check = item.check
            parts = {
                (check.depth, check.host, part.kind, part.name)
                for part in (() if item.problem else sound_names(check))
            }
            damaged = {damage.key for damage in check.all_damage()}
            gone = check.id not in existing
            if gone and parts <= seen and now - check.started > limit and not self._is_needed(damaged):
                self._delete_check(item.key)
            seen |= set() if is_ahead(check.started, now) else parts

    def _is_needed(self, damaged: set[str]) -> bool:
        """Return whether one of the objects ``damaged`` exists, or a manifest names one of them."""
        named = {key for entry in self.entries if entry.manifest for key in entry.manifest.named_keys()}
        return bool(damaged & named) or any(self.context.store.exists(key) for key in damaged)

    def _delete_check(self, key: str) -> None:
        """Delete a check and its signature."""
        store = self.context.store
        self.check_locks()
        try:
            signature = keys.signature_key(key, "check", store.read_small(key))
        except MissingObjectError:
            return
        store.delete(key)
        if store.exists(signature):
            store.delete(signature)

    def _delete_signatures(self, existing: Collection[str]) -> None:
        """Delete the signatures of checks for each removed backup that has no check any more.

        Signatures for an existing backup stay, because a verification could be about to store the check.
        """
        listed = [item.key for item in self.context.store.list(keys.CHECKS, {})]
        parsed = {key: keys.parse(key) for key in listed}
        used = {found.backup_id for found in parsed.values() if found and found.kind == "check"} | {*existing}
        for key, found in parsed.items():
            if found and found.kind == "signature" and found.backup_id not in used:
                self.check_locks()
                self.context.store.delete(key)


def _series(key: str) -> str:
    """Return the key of a check without its time. It is equal for all checks of a backup with one depth."""
    folder, _, name = key.rpartition("/")
    return f"{folder}/{name.partition('-')[2]}"


def _kept_for(config: Config) -> timedelta:
    """Return the age from which a record may be deleted.

    The settings limit the time since the last verification and drill of a database or tree. Records show that
    time, so they are kept for at least twice the longer limit.
    """
    limits = (config.limits.verified, config.limits.drilled)
    return max([RECORDS_KEPT, *(2 * limit for limit in limits if limit)])
