"""Store documents about a backup, such as checks, pins and acceptances, signed with the key of this host."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from igny8_backup.catalog.signatures import store_document
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.annotations import SCHEMA, Removal
from igny8_backup.operations.context import BackupContext
from igny8_backup.signing.trust import REMOVAL


def store_signed(context: BackupContext, key: str, kind: str, document: Any) -> None:
    """Store ``document`` under ``key``, signed if this host has a signing key.

    ``kind`` says what kind of document is signed, such as ``CHECK``. Raises ``IdentityError`` if the file of
    the signing key cannot be used, and ``StorageError``.
    """
    data, copy = records.to_json(document), context.config.trust.copy
    store_document(context.store, context.load_signing_key(), key, kind, data, copy)


def manifest_digest(context: BackupContext, backup_id: str) -> str:
    """Return the SHA-256 of the stored manifest of a backup, in hexadecimal.

    A document about a backup contains this digest, so that the document holds for this version of the
    manifest only. Raises ``StorageError``.
    """
    document = context.store.read_small(keys.manifest_key(backup_id))
    return hashlib.sha256(document).hexdigest()


def record_removal(
    context: BackupContext, backup_id: str, *, host: str, parts: Iterable[str], reason: str, digest: str = ""
) -> None:
    """Record that a backup is about to be removed on purpose, so that it will not be reported as lost.

    ``host`` made the backup, ``parts`` are the names of its databases and trees, and ``digest`` is the
    SHA-256 of its manifest. Raises ``IdentityError`` and ``StorageError``.
    """
    made = Removal(
        schema=SCHEMA,
        id=backup_id,
        host=host,
        reason=reason,
        removed=context.clock(),
        parts=tuple(parts),
        manifest_sha256=digest,
    )
    store_signed(context, keys.removal_key(backup_id), REMOVAL, made)


def why_unsigned(context: BackupContext, kind: str, host: str = "", parts: Iterable[str] = ()) -> str:
    """Return why ``TRUSTED`` rejects this host's signature of a document; ``""`` if it does not.

    If ``TRUSTED`` is not set, nothing is rejected. ``kind`` is the kind of the document, such as ``CHECK``.
    If the document is about a backup, ``host`` made this backup, and ``parts`` are its databases and trees.
    Raises ``IdentityError`` if the signing key cannot be used.
    """
    trust = context.config.trust
    if not trust.required:
        return ""
    key = context.load_signing_key()
    if key is None:
        return "this host has no signing key"
    return trust.refusal(key.public, kind, host or context.config.host, parts)


def note_unsigned(context: BackupContext, kind: str, what: str) -> None:
    """Show a note if ``TRUSTED`` rejects this host's signature of a document, so the document has no effect.

    ``kind`` is the kind of the document, such as ``CHECK``. ``what`` is the name of the document in the note,
    such as "The acceptance".
    """
    if reason := why_unsigned(context, kind):
        context.progress.note(
            f"{what} will not count where TRUSTED is set: {reason}. Set SIGNING to a key that TRUSTED names."
        )
