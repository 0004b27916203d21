"""Store the details of a new backup, then the signature of its manifest, and the manifest last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from django.conf import settings

from igny8_backup.catalog.signatures import store_signature
from igny8_backup.formats import keys, records
from igny8_backup.formats.details import SCHEMA, DatabaseDetails, Details, Skipped, TreeDetails
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.manifest_schema import schema_of
from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.backup.request import BackupRequest, software_versions
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.installation.secret_key import fingerprint
from igny8_backup.signing.signing_key import SigningKey
from igny8_backup.signing.trust import MANIFEST
from igny8_backup.streams.pipeline import from_bytes


def store_details(
    context: BackupContext,
    backup_id: str,
    databases: Iterable[DatabaseDetails],
    trees: Iterable[TreeDetails],
    skipped: Iterable[Skipped],
    errors: Mapping[str, Exception],
) -> StoredObject:
    """Store the details of a backup; return the stored object, which the manifest names.

    ``skipped`` are the files that were skipped. ``errors`` maps the databases and trees that failed to their
    errors. Raises ``StorageError``.
    """
    details = Details(
        schema=SCHEMA,
        id=backup_id,
        secret_key_fingerprint=fingerprint(settings.SECRET_KEY, backup_id),
        databases=tuple(databases),
        trees=tuple(trees),
        skipped=tuple(skipped),
        errors={name: str(error) for name, error in errors.items()},
    )
    key = keys.details_key(backup_id, context.codec.suffix)
    return context.upload(key, claimed=True).send(from_bytes(records.to_json(details)))


def new_manifest(
    context: BackupContext,
    request: BackupRequest,
    backup_id: str,
    started: datetime,
    details: StoredObject,
    databases: tuple[DatabasePart, ...],
    trees: tuple[TreePart, ...],
) -> Manifest:
    """Return the manifest of the backup ``backup_id``, which began at ``started`` and ends now."""
    config = context.config
    return Manifest(
        schema=schema_of(databases, trees),
        id=backup_id,
        host=config.host,
        environment=config.environment,
        label=request.label,
        started=started,
        finished=context.clock(),
        requested=(*request.databases, *request.trees),
        software=software_versions(),
        details=details,
        databases=databases,
        trees=trees,
        safety=request.safety,
        prefix=config.prefix,
        recipients=context.codec.recipients,
        fleet=request.fleet,
    )


def store_manifest(
    context: BackupContext,
    signing_key: SigningKey | None,
    manifest: Manifest,
    expect_manifest: Callable[[bytes], None],
) -> None:
    """Store the signature of a manifest, if there is a key, and then the manifest.

    The backup exists as soon as its manifest is stored. ``expect_manifest`` is called before that, with the
    bytes of the manifest. Finally, this host records the manifest as trusted. If ``StorageError`` is raised,
    the storage has no manifest of this backup.
    """
    data, key = records.to_json(manifest.as_stored()), keys.manifest_key(manifest.id)
    expect_manifest(data)
    if signing_key:
        store_signature(context.store, signing_key, key, MANIFEST, data)
    # put() never replaces another manifest and removes this one if it fails; put_small() would not.
    context.store.put(key, from_bytes(data))
    context.known_manifests.add_own(manifest.id, data, signing_key, context.config.trust)
