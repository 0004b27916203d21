"""Fleet restores with signatures: what somebody changes in the storage, or puts back, makes no host act."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from igny8_backup.errors import IntegrityError, RefusedError
from igny8_backup.formats import keys as storage_keys
from igny8_backup.formats import records
from igny8_backup.formats.documents.fleet_restore import (
    CANCELLED,
    PLANNED,
    PREPARING,
    READY,
    SCHEMA,
    SWAPPING,
    UNDO,
    FleetRestore,
    HostRestore,
)
from igny8_backup.operations.fleet.restore.coordinate import coordinating
from igny8_backup.operations.fleet.restore.host import run_host_restore
from igny8_backup.operations.fleet.restore.host_request import HostRequest
from igny8_backup.operations.restore.decision import is_decided
from igny8_backup.operations.undo.run import undo
from tests.operations.fleet.conftest import NAMES, FleetInProcess
from tests.operations.fleet.restore.live import DEFACED, GOOD, LONG_AGO, POLICY, LiveFleet, wait_until
from tests.operations.signed import Keys


@pytest.fixture
def fleet(fleet: FleetInProcess, keys: Keys) -> FleetInProcess:
    """A fleet in which each host signs with a key of its own, which counts for this host only."""
    names = (*NAMES, "admin")
    fleet.settings["TRUSTED"] = [{"KEY": keys.line(name), "HOSTS": [name]} for name in names]
    fleet.own = {name: {"SIGNING": {"KEY_FILE": keys.file(name)}} for name in names}
    return fleet


def begun(live: LiveFleet, **changes: Any) -> FleetRestore:
    """Store the record of a fleet restore whose hosts are to prepare, as its coordinator does."""
    now = live.fleet.clock()
    record = FleetRestore(
        schema=SCHEMA,
        id=storage_keys.make_id(now, "51c0de"),
        action="restore",
        fleet=live.id,
        host="admin",
        environment=live.context().config.environment,
        started=now,
        heartbeat=now,
        decide_before=now + timedelta(hours=1),
        phase=PREPARING,
        hosts=NAMES,
        workers=POLICY.mode,
    )
    live.write(record := replace(record, **changes))
    return record


def put_unsigned(live: LiveFleet, document: FleetRestore, restore_id: str = "") -> None:
    key = storage_keys.fleet_restore_key(restore_id or document.id)
    live.fleet.base.store.put_small(key, records.to_json(document))


def test_decision_that_was_not_signed_is_refused_by_every_host(live: LiveFleet) -> None:
    record = begun(live)
    for name in NAMES:
        live.work(name, record.id)
    wait_until(lambda: all(live.state(record.id, name) == READY for name in NAMES))
    put_unsigned(live, replace(record, phase=SWAPPING))
    notes: Any = live.fleet.base.progress
    wait_until(lambda: str(notes.texts).count("record of the fleet restore cannot be read") == len(NAMES))
    for name in NAMES:
        with pytest.raises(RefusedError, match="cannot be found out whether .* is not trusted"):
            is_decided(live.context(name), live.context(name).journals.all()[0])
    assert live.pages() == DEFACED and live.phases() == {"ready"}

    live.write(replace(record, phase=CANCELLED, finished=live.fleet.clock()))
    live.join()
    assert live.pages() == DEFACED and live.phases() == set()


def test_plan_that_another_key_has_signed_is_no_answer(live: LiveFleet) -> None:
    live.down.add("web-3")
    live.fleet.clock.step = timedelta(seconds=1)
    live.fleet.own["web-3"] = live.fleet.own["web-2"]  # the key of another host
    begun = coordinating(live.context(), live.request(), live.send)
    with pytest.raises(RefusedError, match="web-3: its answer cannot be used: .* may not sign"), begun as one:
        now = live.fleet.clock()
        live.write(HostRestore(schema=SCHEMA, id=one.record.id, host="web-3", state=PLANNED, heartbeat=now))
        one.execute(one.plan())
    live.join()
    assert live.pages() == DEFACED and live.phases() == set()


def put_back(live: LiveFleet, record: FleetRestore, state: str) -> None:
    """Put back the decision of an earlier fleet restore, and what the hosts had answered before it."""
    live.write(replace(record, phase=SWAPPING, finished=None))
    for name in NAMES:
        answer = live.answer(record.id, name)
        assert answer
        live.write(replace(answer, state=state, heartbeat=LONG_AGO))


def work_all(live: LiveFleet, restore_id: str) -> None:
    for name in NAMES:
        live.work(name, restore_id)
    live.join()


def test_decision_of_an_earlier_restore_that_is_put_back_does_nothing(live: LiveFleet) -> None:
    first = live.run().record
    live.run(UNDO)
    assert live.pages() == DEFACED
    put_back(live, first, READY)
    work_all(live, first.id)
    assert live.pages() == DEFACED
    put_back(live, first, READY)
    live.bury(live.record(first.id))
    live.settle()
    assert live.pages() == DEFACED
    assert {live.state(first.id, name) for name in NAMES} == {"withdrawn"}


def test_decision_of_an_earlier_undo_that_is_put_back_does_nothing(live: LiveFleet) -> None:
    live.run()
    first = live.run(UNDO).record
    for name in NAMES:
        undo(live.context(name), POLICY)  # a redo
    assert live.pages() == GOOD
    put_back(live, first, PLANNED)
    work_all(live, first.id)
    assert live.pages() == GOOD
    assert live.phases() == {"done"}


def test_decision_under_the_id_of_another_restore_is_refused(live: LiveFleet) -> None:
    first = live.run().record
    live.deface()
    record = begun(live)
    old = live.fleet.base.store.read_small(storage_keys.fleet_restore_key(first.id))
    live.fleet.base.store.put_small(storage_keys.fleet_restore_key(record.id), old)
    changed = {**json.loads(old), "id": record.id}
    for name in NAMES:
        with pytest.raises(IntegrityError, match="is not trusted"):
            run_host_restore(live.context(name), HostRequest(restore=record.id, host=name))
    live.fleet.base.store.put_small(storage_keys.fleet_restore_key(record.id), json.dumps(changed).encode())
    for name in NAMES:
        with pytest.raises(IntegrityError, match="is not trusted"):
            run_host_restore(live.context(name), HostRequest(restore=record.id, host=name))
    assert live.pages() == DEFACED
