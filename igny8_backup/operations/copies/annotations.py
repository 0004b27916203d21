"""Give the copy of a backup the pin and the acceptance that the backup has."""

from __future__ import annotations

from contextlib import suppress

from igny8_backup.catalog.backups import Entry
from igny8_backup.catalog.signatures import judge_document
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys, records
from igny8_backup.formats.acceptance import Acceptance
from igny8_backup.formats.documents.annotations import Annotations
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.copies.documents import copy_document
from igny8_backup.operations.history.documents import store_signed
from igny8_backup.operations.maintain.inventory import Inventory
from igny8_backup.signing.trust import ACCEPTANCE, PIN, part_token
from igny8_backup.store import MissingObjectError


def copy_annotations(
    source: BackupContext, inventory: Inventory, copy: BackupContext, held: Inventory, entry: Entry
) -> None:
    """Store the pin and the acceptance of a backup with its copy, if it has any that the copy lacks.

    ``source`` and ``copy`` are the contexts of the two storages, ``inventory`` and ``held`` their
    inventories. A pin counts in one storage only, so the pin of the copy is a new one with the same reason,
    signed by this host. If the pin of the backup has no trusted signature, the pin of the copy has none; both
    pins keep their backup all the same. The end of a pin and the withdrawal of an acceptance are not copied:
    somebody who may delete objects in one storage must not be able to weaken another storage. An acceptance
    that would not count in the other storage is not copied either, because it could replace one that counts.
    Raises ``IdentityError`` and ``StorageError``.
    """
    notes = inventory.annotations.get(entry.id, Annotations())
    there = held.annotations.get(entry.id, Annotations())
    if notes.pin and not there.pin:
        if _is_pin_trusted(source, entry):
            store_signed(copy, keys.pin_key(entry.id), PIN, notes.pin)
        else:
            copy.store.put_small(keys.pin_key(entry.id), records.to_json(notes.pin))
    if notes.acceptance and notes.acceptance != there.acceptance and _counts(notes.acceptance, copy, held):
        copy_document(source, copy, keys.acceptance_key(entry.id), ACCEPTANCE)


def _counts(acceptance: Acceptance, copy: BackupContext, held: Inventory) -> bool:
    """Return whether an acceptance is about the manifest that the copy has, which a rotation may change."""
    trust = copy.config.trust
    there = next((item for item in held.entries if item.id == acceptance.id), None)
    if there is None or not trust.required:
        return True
    return there.is_described_by(acceptance.manifest_sha256, ACCEPTANCE, trust)


def _is_pin_trusted(source: BackupContext, entry: Entry) -> bool:
    trust, key = source.config.trust, keys.pin_key(entry.id)
    if not trust.required:
        return True
    if entry.manifest is None:
        return False
    parts = [part_token(part.kind, part.name) for part in entry.manifest.parts]
    with suppress(MissingObjectError, IntegrityError):
        data = source.store.read_small(key)
        verdict = judge_document(source.store, trust, key, PIN, data, host=entry.manifest.host, parts=parts)
        return verdict.trusted
    return False
