"""Find out which databases and trees of a backup a copy holds."""

from __future__ import annotations

import hashlib

from igny8_backup.catalog.signatures import judge_document
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import records
from igny8_backup.formats.documents.copy_document import SCHEMA, CopyDocument, copy_key, holding
from igny8_backup.formats.manifest import Manifest
from igny8_backup.signing.trust import COPY, Trust, part_token
from igny8_backup.store import MissingObjectError, Store


def as_held(store: Store, trust: Trust, manifest: Manifest, document: bytes) -> Manifest:
    """Return ``manifest`` without the objects of parts that the copy in ``store`` does not hold.

    ``document`` is the stored bytes of the manifest. The copy holds all parts unless its copy document says
    otherwise. A copy document is ignored if it is malformed, about another manifest, or not signed by a
    trusted key. Then the objects of parts that the copy does not hold count as missing. Raises
    ``StorageError``.
    """
    key = copy_key(manifest.id)
    try:
        data = store.read_small(key)
        found = records.from_json(CopyDocument, data, name=key, schema=SCHEMA)
    except (MissingObjectError, IntegrityError):
        return manifest
    if (found.id, found.manifest_sha256) != (manifest.id, hashlib.sha256(document).hexdigest()):
        return manifest
    if trust.required:
        tokens = [part_token(part.kind, part.name) for part in manifest.parts]
        verdict = judge_document(store, trust, key, COPY, data, host=manifest.host, parts=tokens)
        if not verdict.trusted:
            return manifest
    return holding(manifest, found.parts)
