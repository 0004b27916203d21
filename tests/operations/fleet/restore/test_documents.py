"""The documents of fleet restores: what is written is read, and what is damaged or wrong is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from igny8_backup.catalog.fleet_restores import (
    read_host,
    read_restore,
    restore_ids,
    restored_hosts,
    write,
)
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.fleet_restore import (
    READY,
    RESTORE,
    SCHEMA,
    SWAPPING,
    FleetRestore,
    HostRestore,
    HostRestored,
)
from igny8_backup.operations.context import BackupContext

NOW = datetime(2026, 11, 22, 17, 42, 58, tzinfo=UTC)
ID, OTHER = "20261122T174258Z-51c0de", "20261121T174258Z-51c0de"
RECORD = FleetRestore(
    schema=SCHEMA,
    id=ID,
    action=RESTORE,
    fleet="20261122T021500Z-7f3a9c",
    host="web-1",
    environment="test",
    started=NOW,
    heartbeat=NOW,
    decide_before=NOW + timedelta(hours=1),
    hosts=("web-1", "web-2"),
)
HOST = HostRestore(schema=SCHEMA, id=ID, host="web-1", state=READY, heartbeat=NOW)


def test_documents_are_read_as_they_were_written(context: BackupContext) -> None:
    store, trust = context.store, context.config.trust
    write(store, trust, None, replace(RECORD, id=OTHER))
    assert read_restore(store, trust, ID) is None and read_host(store, trust, ID, "web-1") is None
    restored = HostRestored(schema=SCHEMA, id=RECORD.fleet, host="web-1", restored=NOW)
    for document in (RECORD, HOST, restored):
        write(store, trust, None, document)
    assert read_restore(store, trust, ID) == RECORD
    assert read_host(store, trust, ID, "web-1") == HOST
    assert restored_hosts(store, trust, RECORD.fleet) == {"web-1": restored}
    assert list(restore_ids(store, NOW - timedelta(days=7))) == [ID, OTHER]
    assert list(restore_ids(store, NOW)) == [ID]


def test_document_of_another_restore_is_refused(context: BackupContext) -> None:
    store, trust = context.store, context.config.trust
    write(store, trust, None, RECORD)
    write(store, trust, None, HOST)
    for key in (keys.fleet_restore_key, lambda one: keys.fleet_restore_part_key(one, "web-1")):
        store.put_small(key(OTHER), store.read_small(key(ID)))
    with pytest.raises(IntegrityError, match="is that of another fleet restore"):
        read_restore(store, trust, OTHER)
    with pytest.raises(IntegrityError, match="is that of another fleet restore or host"):
        read_host(store, trust, OTHER, "web-1")


def test_only_signed_documents_are_read_if_keys_are_trusted(host: Any) -> None:
    with host("web-1", trusts=["web-1"]) as opened:
        store, trust, key = opened.store, opened.config.trust, opened.load_signing_key()
        write(store, trust, key, RECORD)
        assert read_restore(store, trust, ID) == RECORD
        decided = replace(RECORD, phase=SWAPPING)
        write(store, trust, None, decided)
        with pytest.raises(IntegrityError, match="is not trusted: it is not signed"):
            read_restore(store, trust, ID)
        write(store, trust, key, decided, replaces=RECORD)
        assert read_restore(store, trust, ID) == decided
        signatures = [item.key for item in store.list(f"{keys.fleet_folder(ID)}signatures/")]
        assert len(signatures) == 1, "the signature of the version before is removed"


def test_fleet_restore_is_alive_until_its_heartbeat_is_old() -> None:
    assert RECORD.is_alive(NOW + timedelta(minutes=4))
    assert not RECORD.is_alive(NOW + timedelta(minutes=5))
    assert not replace(RECORD, finished=NOW).is_alive(NOW)
    assert RECORD.has_expired(RECORD.decide_before + timedelta(minutes=1))
    assert not RECORD.has_expired(RECORD.decide_before)
    assert not replace(RECORD, phase=SWAPPING).has_expired(RECORD.decide_before + timedelta(days=1))
