"""Fleet backups with signatures: whose records count."""

from __future__ import annotations

import json
from typing import Any

import pytest

from igny8_backup.catalog.fleets import read_fleet
from igny8_backup.formats import keys as storage_keys
from igny8_backup.formats.manifest import COMPLETE
from tests.operations.fleet.conftest import NAMES, FleetInProcess
from tests.operations.signed import Keys


@pytest.fixture
def signed(fleet: FleetInProcess, keys: Keys) -> FleetInProcess:
    """A fleet in which each host signs with a key of its own, which counts for this host only."""
    names = (*NAMES, "admin")
    fleet.settings["TRUSTED"] = [{"KEY": keys.line(name), "HOSTS": [name]} for name in names]
    fleet.own = {name: {"SIGNING": {"KEY_FILE": keys.file(name)}} for name in names}
    return fleet


def test_each_host_signs_its_part_and_the_coordinator_the_record(signed: FleetInProcess) -> None:
    record = signed.run().record
    assert record.outcome == COMPLETE
    admin = signed.context("admin")
    assert {entry.untrusted for entry in admin.catalog.entries()} == {""}
    found = read_fleet(admin.store, admin.config.trust, record.id)
    assert found and not found.untrusted


def test_part_signed_with_the_key_of_another_host_is_a_failed_part(signed: FleetInProcess) -> None:
    signed.own["web-2"] = signed.own["web-3"]
    (missing,) = signed.run().record.missing()
    assert missing.host == "web-2"
    assert missing.reason.startswith(
        "its record is not trusted: the key 'web-3' may not sign for the host web-2"
    )


def test_key_that_signs_no_fleets_is_named(signed: FleetInProcess) -> None:
    signed.settings["TRUSTED"][0]["SIGNS"] = ["manifest"]
    (missing,) = signed.run().record.missing()
    assert missing.reason == "its record is not trusted: the key 'web-1' may not sign a fleet"


def test_record_changed_in_storage_is_not_trusted(signed: FleetInProcess) -> None:
    record = signed.run().record
    key = storage_keys.fleet_key(record.id)
    changed: dict[str, Any] = json.loads(signed.base.store.read_small(key))
    changed["parts"] = changed["parts"][:1]
    signed.base.store.put_small(key, json.dumps(changed).encode())
    found = read_fleet(signed.base.store, signed.context("admin").config.trust, record.id)
    assert found and found.untrusted == "it is not signed, or was changed after it was signed"
