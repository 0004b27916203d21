"""Store signatures of documents, and check them against the keys that the settings trust."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from igny8_backup.catalog.known_manifests import KnownManifests
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys
from igny8_backup.formats.manifest import Manifest
from igny8_backup.signing import sshsig
from igny8_backup.signing.signing_key import SigningKey
from igny8_backup.signing.trust import MANIFEST, Trust, Verdict, namespace, part_token
from igny8_backup.store import MissingObjectError, Store


def store_signature(
    store: Store, key: SigningKey, object_key: str, kind: str, document: bytes, copy: str = ""
) -> None:
    """Sign ``document``, which is to be stored under ``object_key``, and store the signature.

    ``kind`` is the kind of the document, such as ``manifest``. ``copy`` is the name of ``store`` in
    ``COPIES``, or empty for the storage of the backups themselves: see :func:`namespace`. Call this before a
    new document is stored, so that nobody finds the document without its signature. Raises ``StorageError``.
    """
    signature = key.sign(document, namespace(kind, copy))
    store.put_small(keys.signature_key(object_key, kind, document), signature)


def store_document(
    store: Store, key: SigningKey | None, object_key: str, kind: str, document: bytes, copy: str = ""
) -> None:
    """Store ``document`` (a check, a pin, ...) under ``object_key``. With ``key``, first store its signature.

    ``copy`` is the name of ``store`` in ``COPIES``, or empty for the storage of the backups themselves.
    Raises ``StorageError``.
    """
    if key is not None:
        store_signature(store, key, object_key, kind, document, copy)
    store.put_small(object_key, document)


def judge_document(
    store: Store,
    trust: Trust,
    object_key: str,
    kind: str,
    document: bytes,
    *,
    host: str,
    parts: Iterable[str],
    known: bool = False,
) -> Verdict:
    """Return whether a trusted key made the stored signature of ``document``.

    ``kind`` is the kind of the document, such as ``manifest``. ``host`` and ``parts`` (databases and
    trees, see ``part_token``) are those that the document names. ``known`` is true if this host trusted the
    same document before; then the signature of a revoked key counts too. Raises ``StorageError``.
    """
    key = keys.signature_key(object_key, kind, document)
    try:
        signature = store.read_small(key, limit=sshsig.SIZE_LIMIT)
    except MissingObjectError:
        signature = None
    except IntegrityError as error:
        return Verdict(problem=f"its signature is wrong: {error.what.removesuffix('.')}")
    return trust.judge(signature, document, kind=kind, host=host, parts=parts, known=known)


def judge_manifest(
    store: Store, trust: Trust, known: KnownManifests | None, manifest: Manifest, document: bytes
) -> Verdict:
    """Return whether a trusted key signed ``manifest``, whose stored bytes are ``document``.

    The host, environment and PREFIX that the manifest names must be those of this host: see
    :meth:`Trust.judge_place`. ``known`` remembers the manifests that this host trusted before: for these, the
    signature of a revoked key counts as well.
    """
    parts = [part_token(part.kind, part.name) for part in manifest.parts]
    trusted_before = known is not None and known.is_trusted(manifest.id, hashlib.sha256(document).hexdigest())
    verdict = judge_document(
        store,
        trust,
        keys.manifest_key(manifest.id),
        MANIFEST,
        document,
        host=manifest.host,
        parts=parts,
        known=trusted_before,
    )
    return trust.judge_place(
        verdict, environment=manifest.environment, prefix=manifest.prefix, host=manifest.host
    )
