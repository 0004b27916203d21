"""Verify one or all backups: check that the objects in storage are those that were written."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from types import MappingProxyType

from igny8_backup.catalog.backups import Entry
from igny8_backup.catalog.failures import of_one_object
from igny8_backup.common.clock_skew import is_ahead
from igny8_backup.databases.verify_dump import vulnerable_readers
from igny8_backup.errors import IdentityError, IntegrityError, StorageError, UsageError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.annotations import CONTENT
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history import storage_memory
from igny8_backup.operations.history.documents import note_unsigned
from igny8_backup.operations.history.fleet_members import read_one
from igny8_backup.operations.history.newest_copies import expected_manifests, newest_copies
from igny8_backup.operations.history.presence import is_lost, lost_backups
from igny8_backup.operations.history.read import reported_objects
from igny8_backup.operations.staging.origin import judge_origin, require_safe
from igny8_backup.operations.verify.all_results import AllVerified, shared_damage
from igny8_backup.operations.verify.older_packs import choose_older_packs, remember_share
from igny8_backup.operations.verify.result import VerifyRequest, VerifyResult
from igny8_backup.operations.verify.verifier import SharedResults, Verifier
from igny8_backup.signing.trust import CHECK


def verify(
    context: BackupContext, request: VerifyRequest, shared: SharedResults | None = None
) -> VerifyResult:
    """Check that every object of one backup exists, and read a sample of them; record the result.

    Objects that earlier checks report as damaged are always read: if a sample left them out, its result would
    look as if they were repaired. ``shared`` holds the results for objects that were read for other backups.
    These objects are not read again. No lock is taken, because only the result is added to the storage.

    Raises ``UsageError`` for an unknown id, ``IntegrityError`` for a missing or unreadable manifest,
    ``StorageError``; for the depth ``content`` also ``IdentityError``, ``FilesError``, ``ToolMissingError``,
    ``ToolTooOldError``, and ``RefusedError`` if ``pg_restore`` is not safe enough for the backup.
    """
    backup_id = request.backup_id or newest_backup(context)
    manifest = _read_manifest(context, backup_id)
    with ExitStack() as stack:
        shared = shared or stack.enter_context(closing(SharedResults()))
        if request.depth == CONTENT:
            context.require_genuine(manifest)
            _require_safe_programs(context, manifest, shared)
        return Verifier(context, request, manifest, shared).run()


def verify_backups(context: BackupContext, request: VerifyRequest, *, every: bool = False) -> AllVerified:
    """Verify ``every`` backup, the backup that the request names, or else those with the newest copies.

    Also reports backups that this host remembers and that are gone from storage. Raises the errors of
    :func:`verify`.
    """
    if request.older_packs and (request.backup_id or every):
        raise UsageError(
            "--older-packs cannot be combined with ID or --all.",
            hint="Remove it: all objects are read anyway.",
        )
    note_unsigned(context, CHECK, "The result")
    if every:
        found = verify_all(context, request)
    elif request.backup_id:
        found = AllVerified(results=(verify(context, request),))
    else:
        found = verify_newest(context, request)
    named = " ".join(found.lost)
    gone = tuple(item.text for item in storage_memory.find_lost(context) if item.id not in named)
    return replace(found, remembered=gone, shared=tuple(shared_damage(context, found.results)))


def verify_newest(context: BackupContext, request: VerifyRequest) -> AllVerified:
    """Verify the newest complete copy of each database and tree of each expected host.

    These copies can be in several backups. If ``TRUSTED`` is set and an unsigned check reports an object as
    damaged, the newest backup that names the object is verified too. Backups whose manifest is gone or
    unreadable are also reported. If ``older_packs`` is set, the packs of older backups that are due today are
    read too. Raises the errors of :func:`verify` that affect all backups.
    """
    now, entries, runs = context.clock(), context.catalog.entries(), context.catalog.runs()
    manifests, hosts = expected_manifests(context, entries, runs, now)
    ids = {choice.manifest.id for choice in newest_copies(manifests, context.config)}
    ids |= {entry.id for entry in entries if entry.manifest is None}
    ids |= _naming(entries, reported_objects(context))
    ids |= {run.id for run in lost_backups(context, entries, runs) if run.host in hosts}
    ids = ids or {newest_backup(context)}
    today, older = now.toordinal(), dict[str, frozenset[str]]()
    if request.older_packs:
        known = [entry.manifest for entry in entries if entry.manifest]
        older = choose_older_packs(context, known, ids, today)
    found = _verify_each(context, request, sorted(ids), older)
    read = {result.check.id for result in found.results if not result.unread}
    if request.older_packs and read >= older.keys():
        remember_share(context, today)
    return found


def _naming(entries: list[Entry], damaged: frozenset[str]) -> set[str]:
    """Return, for each of the ``damaged`` objects, the id of the newest backup that names it."""
    found: dict[str, str] = {}
    for entry in reversed(entries):
        named = entry.manifest.named_keys() if entry.manifest else set()
        found |= dict.fromkeys(damaged & {*named, keys.manifest_key(entry.id)}, entry.id)
    return set(found.values())


def verify_all(context: BackupContext, request: VerifyRequest) -> AllVerified:
    """Verify every backup, oldest first. Raises the errors of :func:`verify` that affect all backups."""
    return _verify_each(context, request, _all_ids(context) or [newest_backup(context)])


def _verify_each(
    context: BackupContext,
    request: VerifyRequest,
    ids: list[str],
    older: Mapping[str, frozenset[str]] = MappingProxyType({}),
) -> AllVerified:
    """Verify several backups. Damage in one does not prevent the verification of the others.

    ``older`` maps the ids of other backups to the keys of their objects to read.

    A pack (tar archive) that several backups share is read once, for the oldest of them, whose index lists
    the most files of the pack. The pack is read again only if the index of a later backup contradicts that
    index. Raises the errors of :func:`verify` that affect all backups, such as ``StorageError`` if the
    storage cannot be used at all.
    """
    results: list[VerifyResult] = []
    lost: list[str] = []
    unopened: list[str] = []
    unread: list[str] = []
    with closing(SharedResults()) as shared:
        for backup_id in sorted({*ids, *older}):
            one = replace(request, backup_id=backup_id)
            if backup_id not in ids:
                one = VerifyRequest(backup_id=backup_id, only=older[backup_id])
            try:
                results.append(verify(context, one, shared))
            except IntegrityError as error:
                lost.append(error.what)
            except IdentityError as error:
                if not request.identity_file and not context.identities(None, needed=False):
                    raise  # no identity was given, so no backup can be read
                unopened.append(f"{backup_id}: {error}")
            except StorageError as error:
                unread.append(f"{backup_id}: {of_one_object(context.store, error)}")
            except UsageError as error:  # prune_backups has removed the backup meanwhile
                context.progress.note(str(error))
    return AllVerified(
        results=tuple(results), lost=tuple(lost), unopened=tuple(unopened), unread=tuple(unread)
    )


def _all_ids(context: BackupContext) -> list[str]:
    """Return the ids of the backups that exist, or should exist by their run records; oldest first."""
    entries = context.catalog.entries()
    lost = lost_backups(context, entries, context.catalog.runs())
    return sorted({entry.id for entry in entries} | {run.id for run in lost})


def newest_backup(context: BackupContext) -> str:
    """Return the id of the newest backup.

    A safety copy (a backup made before a restore in place) is returned only if there are no other backups,
    and a backup that is dated in the future only if there is no better choice. Raises ``UsageError`` if there
    is no backup.
    """
    entries = context.catalog.entries()
    if not entries:
        what = f"There is no backup in {context.store.describe()}."
        hint = "Create one: python manage.py backup_all."
        raise UsageError(what, unchanged="Nothing was read.", hint=hint)
    now = context.clock()
    usual = [entry for entry in entries if not (entry.manifest and entry.manifest.safety)] or entries
    return next((entry for entry in usual if not is_ahead(entry.started, now)), usual[0]).id


def _require_safe_programs(context: BackupContext, manifest: Manifest, shared: SharedResults) -> None:
    """Raise ``RefusedError`` if the backup must not be read with programs that have known security holes.

    If it may be read with them, show a warning. The same warning is shown once in a run.
    """

    def note(text: str) -> None:
        if text not in shared.noted:
            shared.noted.add(text)
            context.progress.note(text)

    bin_dir = context.config.client_bin_dir
    found = [item for part in manifest.databases for item in vulnerable_readers(part, bin_dir)]
    require_safe(judge_origin(context, manifest, list(dict.fromkeys(found))), note)


def _read_manifest(context: BackupContext, backup_id: str) -> Manifest:
    """Read the manifest. Raises ``IntegrityError`` if it is missing, although a run wrote it."""
    try:
        return read_one(context, backup_id, command="verify_backup")
    except UsageError:
        run = context.catalog.run(backup_id) if keys.is_id(backup_id) else None
        if run and run.stored_manifest and is_lost(context, backup_id):
            what = f"{keys.manifest_key(backup_id)} is missing, although the run of this backup wrote it."
            hint = "Copy it back from another copy of the storage, or choose another backup: list_backups."
            raise IntegrityError(what, unchanged="Nothing was changed.", hint=hint) from None
        raise
