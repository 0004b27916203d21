"""Read and write the documents of fleet restores: restores and undos on several hosts together.

Each version of a document is signed, where this host has a signing key. A reader whose settings have trusted
keys uses no document without a trusted signature, because the documents decide what becomes live.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from igny8_backup.catalog.signatures import judge_document, store_document
from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.fleet_restore import SCHEMA, FleetRestore, HostRestore, HostRestored
from igny8_backup.signing.signing_key import SigningKey
from igny8_backup.signing.trust import FLEET, Trust
from igny8_backup.store import MissingObjectError, Store

Document = FleetRestore | HostRestore | HostRestored
D = TypeVar("D", FleetRestore, HostRestore, HostRestored)

_HINT = "Run the command that started the fleet restore again, or restore each host by itself: restore_all."


def write(
    store: Store, trust: Trust, key: SigningKey | None, document: Document, replaces: Document | None = None
) -> None:
    """Store ``document``, signed with ``key`` if there is one.

    ``replaces`` is the version that it replaces, whose signature is removed: a document whose heartbeat is
    renewed every minute has many versions. Raises ``StorageError``.
    """
    object_key = _key(document)
    store_document(store, key, object_key, FLEET, records.to_json(document), trust.copy)
    if key is not None and replaces is not None and replaces != document:
        with suppress(StorageError):  # the storage may forbid deletions
            store.delete(keys.signature_key(object_key, FLEET, records.to_json(replaces)))


def read_restore(store: Store, trust: Trust, restore_id: str) -> FleetRestore | None:
    """Read the record of the fleet restore ``restore_id``; ``None`` if there is none.

    Raises ``IntegrityError`` if the record is damaged or not trusted, and ``StorageError``.
    """
    found = _read(store, trust, keys.fleet_restore_key(restore_id), FleetRestore)
    if found and found.id != restore_id:
        raise _wrong(keys.fleet_restore_key(restore_id), f"is that of another fleet restore, {found.id!r}")
    return found


def read_host(store: Store, trust: Trust, restore_id: str, host: str) -> HostRestore | None:
    """Read the state of one host of a fleet restore; ``None`` if it has written none.

    Raises ``IntegrityError`` if the document is damaged or not trusted, and ``StorageError``.
    """
    key = keys.fleet_restore_part_key(restore_id, host)
    found = _read(store, trust, key, HostRestore)
    if found and (found.id, found.host) != (restore_id, host):
        raise _wrong(key, "is that of another fleet restore or host")
    return found


def restored_hosts(store: Store, trust: Trust, fleet_id: str) -> dict[str, HostRestored]:
    """Return the hosts whose part of the fleet backup ``fleet_id`` was restored, with their records.

    The ``host`` of the record has restored the part. Documents that are damaged or not trusted are left out.
    Raises ``StorageError``.
    """
    found: dict[str, HostRestored] = {}
    for item in store.list(keys.fleet_folder(fleet_id)):
        parsed = keys.parse(item.key)
        if parsed is None or parsed.kind != "fleet_restored":
            continue
        try:
            document = _read(store, trust, item.key, HostRestored)
        except IntegrityError:
            continue
        if document and (document.id, document.host) == (fleet_id, parsed.host):
            found |= dict.fromkeys(document.parts_of or (document.host,), document)
    return found


def restore_ids(store: Store, since: datetime) -> Iterator[str]:
    """Yield the ids of the fleet restores since ``since``, newest first. Raises ``StorageError``."""
    names = {name.strip("/").rsplit("/", 1)[-1] for name in store.list_dirs(keys.FLEETS)}
    for name in sorted(filter(keys.is_id, names), reverse=True):
        if keys.id_time(name) >= since and store.exists(keys.fleet_restore_key(name)):
            yield name


def _key(document: Document) -> str:
    if isinstance(document, FleetRestore):
        return keys.fleet_restore_key(document.id)
    if isinstance(document, HostRestore):
        return keys.fleet_restore_part_key(document.id, document.host)
    return keys.fleet_restored_key(document.id, document.host)


def _read(store: Store, trust: Trust, key: str, kind: type[D]) -> D | None:
    """Read and check a document. If it is replaced meanwhile, the new one is read."""
    data = _bytes(store, key)
    while data is not None:
        hint = "Remove it if no fleet restore is under way."
        found = records.from_json(kind, data, name=f"The document {key}", schema=SCHEMA, hint=hint)
        if not trust.required:
            return found
        verdict = judge_document(store, trust, key, FLEET, data, host=found.host, parts=())
        if verdict.trusted:
            return found
        newer = _bytes(store, key)
        if newer == data:
            raise _wrong(key, f"is not trusted: {verdict.problem}")
        data = newer
    return None


def _bytes(store: Store, key: str) -> bytes | None:
    try:
        return store.read_small(key)
    except MissingObjectError:
        return None


def _wrong(key: str, what: str) -> IntegrityError:
    return IntegrityError(f"The document {key} {what}.", unchanged="Nothing was changed.", hint=_HINT)
