"""Replace the manifests of backups with new manifests, which name the objects with new headers."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from igny8_backup.catalog.signatures import store_signature
from igny8_backup.errors import StorageError
from igny8_backup.formats import keys, lists, records
from igny8_backup.formats.documents.rotation import rotated_key, with_objects
from igny8_backup.formats.lists import BLOCK_BYTES, ListedObject
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.manifest_schema import schema_of
from igny8_backup.formats.objects import ListReference, StoredObject
from igny8_backup.operations.backup.lists import in_groups, naming_lists, store_list
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.rotate.journal import Journal
from igny8_backup.signing.trust import MANIFEST


@dataclass(frozen=True)
class Switch:
    """Replaces manifests. ``check`` raises ``LockedError`` if a lock of this run was lost."""

    context: BackupContext
    journal: Journal
    check: Callable[[], None]

    def store_lists(self, manifests: Sequence[Manifest], made: Mapping[str, ListedObject]) -> list[Manifest]:
        """Store the lists that describe the new objects; return the new manifests, which are not stored yet.

        ``manifests`` are all backups that share packs; ``made`` maps the keys of their objects to the new
        objects. Raises ``StorageError``.
        """
        listed = self._store_pack_lists(manifests, made)
        return [self._rewritten(manifest, made, listed) for manifest in manifests]

    def _store_pack_lists(
        self, manifests: Sequence[Manifest], made: Mapping[str, ListedObject]
    ) -> dict[str, ListReference]:
        """Store new lists of packs; return the list that describes each new pack, by the key of the pack."""
        described: defaultdict[tuple[str, str, str], dict[str, ListedObject]] = defaultdict(dict)
        for manifest in manifests:
            packs_of = [(part.kind, pack) for part in manifest.parts for pack in part.packs]
            for part_kind, pack in packs_of:
                # Packs that were in separate lists stay so (see ``backup.lists``). Manifests of earlier
                # releases name their packs without a list.
                parsed = keys.parse(pack.named_in.key) if pack.named_in else None
                earlier = pack.named_in.key if pack.named_in else part_kind
                group_of = manifest.host, parsed.backup_id if parsed else manifest.id, earlier
                described[group_of][pack.key] = made[pack.key]
        found: dict[str, ListReference] = {}
        for (host, backup_id, _), packs in described.items():
            for number, group in enumerate(in_groups(packs.values()), 1):
                key = rotated_key(lists.list_key(host, backup_id, number), self.context.token())
                self.check()
                reference = store_list(self.context, host, backup_id, key, group)
                found |= {item.key: reference for item in group}
        return found

    def _rewritten(
        self, manifest: Manifest, made: Mapping[str, ListedObject], listed: Mapping[str, ListReference]
    ) -> Manifest:
        large = [made[item.key] for item in _own(manifest) if made[item.key].stored_bytes > BLOCK_BYTES]
        blocks = None
        if large:
            key = rotated_key(lists.blocks_key(manifest.id), self.context.token())
            blocks = store_list(self.context, manifest.host, manifest.id, key, large)
        changed = with_objects(manifest, lambda item: _stored(made[item.key]))
        document = self.context.store.read_small(keys.manifest_key(manifest.id))
        return replace(
            changed,
            schema=schema_of(changed.databases, changed.trees),
            databases=tuple(naming_lists(part, dict(listed)) for part in changed.databases),
            trees=tuple(naming_lists(tree, dict(listed)) for tree in changed.trees),
            blocks=blocks,
            recipients=self.context.config.recipients,
            replaces=(*manifest.replaces, hashlib.sha256(document).hexdigest()),
        )

    def replace_manifest(self, manifest: Manifest) -> None:
        """Store the signature of a new manifest, and then the manifest in place of the old one.

        Raises ``LockedError``, ``IdentityError``, ``StorageError`` and ``FilesError``.
        """
        context, key = self.context, keys.manifest_key(manifest.id)
        data, signing_key = records.to_json(manifest.as_stored()), context.load_signing_key()
        self.check()
        self.journal.add_document(key, data)
        if signing_key:
            store_signature(context.store, signing_key, key, MANIFEST, data)
        context.store.put_small(key, data)
        if context.store.read_small(key) != data:
            raise StorageError(
                f"The storage does not return the new manifest of backup {manifest.id}.",
                unchanged="The old objects of the backup were not removed.",
                hint="Check the storage, and run rotate_recipients again: it continues.",
            )
        context.known_manifests.add_own(manifest.id, data, signing_key, context.config.trust)
        tidy(context, manifest, hashlib.sha256(data).hexdigest())


def tidy(context: BackupContext, manifest: Manifest, digest: str) -> None:
    """Update the run record and the signatures after ``manifest`` has replaced an earlier manifest.

    The run record gets the ``digest`` (SHA-256) of ``manifest``, and the signature of the earlier manifest is
    deleted. Steps that were taken before are not repeated. Call this only for manifests that this host has
    stored: a manifest of somebody else could claim to replace any other. Raises ``StorageError``.
    """
    before = manifest.replaces[-1]
    run = context.catalog.run(manifest.id)
    if run and run.manifest_sha256 == before:
        changed = replace(run, manifest_sha256=digest)
        context.store.put_small(keys.run_key(manifest.id), records.to_json(changed))
    for item in list(context.store.list(f"{keys.backup_folder(manifest.id)}signatures/")):
        parsed = keys.parse(item.key)
        signed = parsed and (parsed.kind, parsed.name) == ("signature", MANIFEST)
        if signed and before[:32] in item.key:
            context.store.delete(item.key)


def _own(manifest: Manifest) -> list[StoredObject]:
    packs = {pack.key for part in manifest.parts for pack in part.packs}
    return [item for item in manifest.contents() if item.key not in packs]


def _stored(made: ListedObject) -> StoredObject:
    return StoredObject(
        key=made.key,
        stored_bytes=made.stored_bytes,
        raw_bytes=made.raw_bytes,
        sha256=made.sha256,
        codecs=made.codecs,
    )
