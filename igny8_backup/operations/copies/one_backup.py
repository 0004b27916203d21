"""Copy one backup: first its objects, without a lock, then its signature and manifest, under both locks."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from igny8_backup.catalog.backups import Entry
from igny8_backup.common.outside import is_from_outside
from igny8_backup.conf import CopyTarget
from igny8_backup.errors import RefusedError, StorageError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.annotations import CheckedPart
from igny8_backup.formats.documents.copy_document import SCHEMA, CopyDocument, copy_key, holding
from igny8_backup.formats.manifest import FAILED, STOPPED, Manifest
from igny8_backup.locks.host import HeldLock
from igny8_backup.operations.backup.object_locks import extend_locks
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.copies.destination import Destination
from igny8_backup.operations.copies.documents import copy_document, copy_signature
from igny8_backup.operations.copies.record import CopyRecord
from igny8_backup.operations.history.documents import store_signed, why_unsigned
from igny8_backup.signing.trust import ACCEPTANCE, COPY, MANIFEST, part_token
from igny8_backup.store import MissingObjectError
from igny8_backup.streams.pipeline import from_bytes

LOCK_WAIT = 60.0
"""The shortest time, in seconds, that a copy waits for locks: other runs often hold one for a moment."""


@dataclass(frozen=True)
class Copied:
    """The number and the size in bytes of the objects that were copied."""

    objects: int
    bytes: int


def copy_backup(
    source: BackupContext, destination: Destination, entry: Entry, manifest: Manifest, target: CopyTarget
) -> Copied:
    """Copy a backup to the storage of ``destination``. The caller has checked that it may be copied.

    ``source`` is the context of the storage that has the backup, ``entry`` the backup, and ``manifest`` its
    manifest. Objects that ``destination`` has are not copied again, so an interrupted copy is resumed. The
    last step stores the manifest; the copy exists from then on. If ``target`` does not get all parts of the
    backup, a signed copy document lists the parts in the copy. Raises ``IntegrityError`` if an object is
    damaged; ``RefusedError`` if ``TRUSTED`` would reject the copy document; ``StorageError``;
    ``LockedError``.
    """
    copy, key = destination.context, keys.manifest_key(entry.id)
    document = source.store.read_small(key)
    if hashlib.sha256(document).hexdigest() != entry.manifest_sha256:
        raise _changed(entry.id)
    held = holding(manifest, [part for part in _names(manifest) if target.holds(part.kind, part.name)])
    if held.left_out:
        _require_signature(copy, manifest)
    run = source.catalog.run(entry.id)
    record = CopyRecord(copy, manifest, entry.manifest_sha256, dict(run.errors) if run else {})
    record.begin()
    try:
        done = _copy_objects(source, destination, held, record)
        # The copy is locked first, so that other runs do not wait for a copy that is slow or locked.
        with _locked(copy) as own:
            _require_objects(copy, held)
            _copy_documents(source, copy, entry.id, document)
            _store_copy_document(copy, held, entry.manifest_sha256)
            with _locked(source) as others:
                _require_unchanged(source, manifest.id, document)
                for lock in (*own, *others):
                    lock.check(unchanged="The copy has no manifest, so it does not count.")
                copy.store.put(key, from_bytes(document))
        copy.known_manifests.add_copied(entry.id, entry.manifest_sha256)
    except BaseException as error:
        record.finish(STOPPED if is_from_outside(error) else FAILED)
        raise
    record.finish()
    return done


def _copy_objects(
    source: BackupContext, destination: Destination, manifest: Manifest, record: CopyRecord
) -> Copied:
    """Copy the objects that ``destination`` lacks; extend the S3 object locks of the other objects."""
    copy, count, size = destination.context, 0, 0
    objects = {item.key: item for item in manifest.objects()}
    observer = source.observe(f"copy of {manifest.id}", heartbeat=record.renew_heartbeat)
    with observer:
        missing = [item for item in objects.values() if not destination.has(item)]
        observer.begin(sum(item.stored_bytes for item in missing))
        for item in missing:
            destination.store(source, item, observer)
            record.renew_heartbeat()
            count, size = count + 1, size + item.stored_bytes

    def fail(name: str, error: Exception) -> None:
        raise error

    extend_locks(copy, manifest.id, manifest.parts, fail)
    return Copied(count, size)


def renew_signature(source: BackupContext, copy: BackupContext, entry: Entry) -> None:
    """Copy the signature of a backup again, because the copy is unsigned or signed with a revoked key.

    The copy must have the same manifest as the backup. Raises ``StorageError``.
    """
    document = source.store.read_small(keys.manifest_key(entry.id))
    if hashlib.sha256(document).hexdigest() != entry.manifest_sha256:
        raise _changed(entry.id)
    copy_signature(source, copy, keys.manifest_key(entry.id), MANIFEST, document)


def _locked(context: BackupContext) -> AbstractContextManager[list[HeldLock]]:
    return replace(context, wait=max(context.wait, LOCK_WAIT)).locked("copying a backup")


def _require_unchanged(source: BackupContext, backup_id: str, document: bytes) -> None:
    """Raise ``StorageError`` if the manifest is not ``document`` any more. The caller holds the locks."""
    try:
        unchanged = source.store.read_small(keys.manifest_key(backup_id)) == document
    except MissingObjectError:
        unchanged = False
    if not unchanged:
        raise _changed(backup_id)


def _require_objects(copy: BackupContext, manifest: Manifest) -> None:
    """Raise ``StorageError`` if the storage of the copy lacks one of the objects of ``manifest``.

    ``prune_backups`` may have removed objects there before this run took the lock.
    """
    folders = (keys.backup_folder(manifest.id), f"{keys.PACKS}{manifest.host}/")
    sizes = {item.key: item.size for folder in folders for item in copy.store.list(folder)}
    lacking = [item.key for item in manifest.objects() if sizes.get(item.key) != item.stored_bytes]
    if lacking:
        raise StorageError(
            f"{copy.store.describe()} lacks {lacking[0]}, which was stored there before.",
            unchanged="The copy has no manifest, so it does not count.",
            hint="Run copy_backups again: it copies what is missing.",
        )


def _copy_documents(source: BackupContext, copy: BackupContext, backup_id: str, document: bytes) -> None:
    """Copy the signature of the manifest and the acceptance of the backup, if there are any.

    The marker object of the source is copied too, so that hosts recognize the storage of the copy if it
    replaces the source.
    """
    copy_signature(source, copy, keys.manifest_key(backup_id), MANIFEST, document)
    copy_document(source, copy, keys.acceptance_key(backup_id), ACCEPTANCE)
    if source.store.exists(keys.MARKER) and not copy.store.exists(keys.MARKER):
        copy.store.put_small(keys.MARKER, source.store.read_small(keys.MARKER))
    # The record of an earlier removal from the copy would excuse the loss of the new copy.
    if copy.store.exists(keys.removal_key(backup_id)):
        copy.store.delete(keys.removal_key(backup_id))


def _require_signature(copy: BackupContext, manifest: Manifest) -> None:
    """Raise ``RefusedError`` if ``TRUSTED`` would reject this host's signature of a copy document."""
    parts = [part_token(part.kind, part.name) for part in manifest.parts]
    if reason := why_unsigned(copy, COPY, manifest.host, parts):
        raise RefusedError(
            f"The document that lists what is in the copy would not be trusted: {reason}.",
            unchanged="The backup was not copied.",
            hint="Let the key of this host sign documents of the kind copy (SIGNS in TRUSTED), or copy all"
            " parts.",
        )


def _store_copy_document(copy: BackupContext, held: Manifest, sha256: str) -> None:
    """Store the document that lists the parts in the copy. If the copy has all parts, there is none."""
    if not held.left_out:
        if copy.store.exists(copy_key(held.id)):  # that of an earlier copy
            copy.store.delete(copy_key(held.id))
        return
    made = CopyDocument(
        schema=SCHEMA,
        id=held.id,
        host=copy.config.host,
        copied=copy.clock(),
        parts=tuple(_names(held)),
        manifest_sha256=sha256,
    )
    store_signed(copy, copy_key(held.id), COPY, made)


def _names(manifest: Manifest) -> list[CheckedPart]:
    """Return the names of the databases and trees in ``manifest``, without those that are left out."""
    left_out = {(part.kind, part.name) for part in manifest.left_out}
    return [
        CheckedPart(kind=part.kind, name=part.name)
        for part in manifest.parts
        if (part.kind, part.name) not in left_out
    ]


def _changed(backup_id: str) -> StorageError:
    return StorageError(
        f"Backup {backup_id} was changed or removed while it was copied.",
        unchanged="The copy has no manifest, so it does not count.",
        hint="Run copy_backups again. If nobody has pruned or signed backups, find out who writes to the"
        " storage.",
    )
