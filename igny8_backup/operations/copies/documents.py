"""Copy a document and its signature from one storage to another as they are."""

from __future__ import annotations

from contextlib import suppress

from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys
from igny8_backup.operations.context import BackupContext
from igny8_backup.signing import sshsig
from igny8_backup.store import MissingObjectError


def copy_document(source: BackupContext, copy: BackupContext, key: str, kind: str) -> None:
    """Copy the document ``key`` with its signature, if the document exists.

    ``kind`` is the kind of the document, such as ``MANIFEST`` (see ``signing.trust``).
    """
    with suppress(MissingObjectError, IntegrityError):
        document = source.store.read_small(key)
        copy_signature(source, copy, key, kind, document)
        copy.store.put_small(key, document)


def copy_signature(source: BackupContext, copy: BackupContext, key: str, kind: str, document: bytes) -> None:
    """Copy the signature of ``document``, if there is one.

    ``key`` is the key of the document, ``kind`` its kind, such as ``MANIFEST`` (see ``signing.trust``).
    """
    name = keys.signature_key(key, kind, document)
    with suppress(MissingObjectError):
        copy.store.put_small(name, source.store.read_small(name, limit=sshsig.SIZE_LIMIT))
