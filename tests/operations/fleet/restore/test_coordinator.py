"""The coordinator of fleet restores, with hosts that answer as a test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from igny8_backup.catalog.fleet_restores import read_host, read_restore, restore_ids, write
from igny8_backup.errors import BackupError, LockedError, RefusedError, UsageError
from igny8_backup.formats.documents.fleet_restore import (
    BUILDING,
    CANCELLED,
    DONE,
    FAILED,
    PLANNED,
    PREPARING,
    READY,
    REFUSED,
    SCHEMA,
    SWAPPED,
    SWAPPING,
    UNDO,
    WITHDRAWN,
    FleetRestore,
    HostRestore,
)
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.fleet.restore import follow
from igny8_backup.operations.fleet.restore.coordinate import coordinating, settle_earlier
from igny8_backup.operations.fleet.restore.request import FleetRestoreRequest, FleetRestoreResult
from igny8_backup.signing.trust import TrustedKey
from tests.operations.fleet.conftest import NAMES, FleetInProcess

NORMAL = {"planning": PLANNED, PREPARING: READY, SWAPPING: SWAPPED, CANCELLED: WITHDRAWN}
"""How a host answers in each phase."""


class Script:
    """Hosts that react whenever the coordinator looks at the clock.

    ``answers`` maps a phase to the answer of each host that differs from ``NORMAL``; ``None`` is no answer.
    """

    def __init__(self, fleet: FleetInProcess) -> None:
        self.fleet = fleet
        self.sent: list[str] = []
        self.answers: dict[str, dict[str, str | None]] = {}
        self.fields: dict[str, dict[str, Any]] = {}
        self.restore_id = ""
        self._busy = False

    def context(self) -> BackupContext:
        return replace(self.fleet.context("admin"), clock=self.clock)

    def clock(self) -> datetime:
        if not self._busy and self.restore_id:
            self._busy = True
            self.react()
            self._busy = False
        return self.fleet.clock()

    def send(
        self, name: str, arguments: Mapping[str, Any], *, queue: str, task_id: str, expires: float
    ) -> None:
        assert name == "restore_fleet_part" and expires > 0 and queue == f"backup-{arguments['host']}"
        assert task_id == f"{arguments['restore']}/{arguments['host']}/restore"
        self.sent.append(arguments["host"])
        self.restore_id = arguments["restore"]

    def react(self) -> None:
        context = self.fleet.context("admin")
        record = self.record()
        for host in sorted(set(self.sent)):
            state = {**dict.fromkeys(NAMES, NORMAL.get(record.phase)), **self.answers.get(record.phase, {})}[
                host
            ]
            old = read_host(context.store, context.config.trust, record.id, host)
            if state is None or (old and (old.state == state or old.ended)):
                continue
            now = self.fleet.clock()
            made = HostRestore(schema=SCHEMA, id=record.id, host=host, state=state, heartbeat=now)
            write(context.store, context.config.trust, None, replace(made, **self.fields.get(state, {})))

    def record(self) -> FleetRestore:
        context = self.fleet.context("admin")
        found = read_restore(context.store, context.config.trust, self.restore_id)
        assert found
        return found

    def run(self, **options: Any) -> FleetRestoreResult:
        with coordinating(self.context(), FleetRestoreRequest(**options), self.send) as coordinator:
            return coordinator.execute(coordinator.plan())


@pytest.fixture
def script(fleet: FleetInProcess, monkeypatch: pytest.MonkeyPatch) -> Script:
    monkeypatch.setattr(follow, "PAUSE", 0.01)
    monkeypatch.setattr(follow, "LONGEST_PAUSE", 0.01)
    fleet.run()
    return Script(fleet)


def no_claims(fleet: FleetInProcess) -> bool:
    return not list(fleet.base.store.list("locks/"))


def test_hosts_swap_when_all_of_them_are_ready(script: Script) -> None:
    result = script.run()
    assert result.complete and not result.problems
    assert script.record().phase == DONE and script.record().finished
    assert sorted(script.sent) == list(NAMES)
    assert no_claims(script.fleet)
    undone = script.run(action=UNDO)
    assert undone.complete and undone.record.undoes == result.record.id


def test_newest_complete_fleet_backup_is_restored(script: Script) -> None:
    script.fleet.down.add("web-3")
    script.fleet.clock.step = timedelta(minutes=1)
    incomplete = script.fleet.run().record
    script.fleet.clock.step = timedelta()
    with coordinating(script.context(), FleetRestoreRequest(), script.send) as coordinator:
        plan = coordinator.plan()
    assert plan.record.fleet != incomplete.id and len(plan.hosts) == 3
    assert f"The fleet backup {incomplete.id} is newer, but it is incomplete." in plan.notes
    assert script.record().phase == CANCELLED
    with coordinating(script.context(), FleetRestoreRequest(id=incomplete.id), script.send) as coordinator:
        plan = coordinator.plan()
    assert {host.host for host in plan.hosts} == {"web-1", "web-2"}
    assert any(f"{incomplete.id} lacks web-3: files web-3" in note for note in plan.notes)
    assert "The fleet backup has no part of web-3, where nothing is restored." in plan.notes


def test_host_that_refuses_cancels(script: Script) -> None:
    script.answers["planning"] = {"web-2": REFUSED}
    script.fields[REFUSED] = {"blockers": ("There is too little space.",)}
    with pytest.raises(RefusedError, match="web-2: There is too little space.") as caught:
        script.run()
    assert "Nothing was changed on any host." in str(caught.value)
    assert script.record().phase == CANCELLED and no_claims(script.fleet)


def test_host_that_does_not_answer_cancels(script: Script) -> None:
    script.answers["planning"] = {"web-3": None}
    script.fleet.clock.step = timedelta(seconds=5)
    with pytest.raises(RefusedError, match="web-3: it has not answered within 15 minutes") as caught:
        script.run()
    assert "queue 'backup-web-3'" in str(caught.value)
    assert script.sent.count("web-3") > 5, "the task is sent again, in case the broker has lost it"
    assert script.record().phase == CANCELLED


def test_host_that_fails_before_the_decision_cancels(script: Script) -> None:
    script.answers[PREPARING] = {"web-2": FAILED}
    script.fields[FAILED] = {"error": "The disk is full."}
    with pytest.raises(BackupError, match="web-2: failed: The disk is full.") as caught:
        script.run()
    assert caught.value.exit_status == 1
    assert "Nothing live was changed on any host." in str(caught.value)
    assert script.record().phase == CANCELLED


def test_host_that_stops_reporting_before_the_decision_cancels(script: Script) -> None:
    script.answers[PREPARING] = {"web-1": BUILDING}
    script.fleet.clock.step = timedelta(seconds=5)
    with pytest.raises(BackupError, match="web-1: it has stopped reporting, last at"):
        script.run()
    assert script.record().phase == CANCELLED


def test_host_that_fails_after_the_decision_is_named_and_tried_again(script: Script) -> None:
    script.answers[SWAPPING] = {"web-2": FAILED}
    script.fields[FAILED] = {"error": "Interrupted.", "unfinished": True}
    result = script.run()
    assert not result.complete
    assert result.problems == ("web-2: its part was begun and not completed: Interrupted.",)
    assert script.record().phase == SWAPPING
    context = script.context()
    old = read_host(context.store, context.config.trust, script.restore_id, "web-2")
    assert old
    script.answers[SWAPPING] = {}
    write(
        context.store,
        context.config.trust,
        None,
        replace(old, heartbeat=context.clock() - timedelta(hours=1)),
    )
    sent = len(script.sent)

    def send(name: str, arguments: Mapping[str, Any], **options: Any) -> None:
        script.send(name, arguments, **options)
        done = replace(old, state=SWAPPED, heartbeat=context.clock(), error="", unfinished=False)
        write(context.store, context.config.trust, None, done)

    again = settle_earlier(context, send)
    assert again and again.resumed and again.complete
    assert script.sent[sent:] == ["web-2"], "hosts that have swapped get no task"
    assert script.record().phase == DONE
    assert settle_earlier(context, script.send) is None


@pytest.mark.parametrize(("phase", "ends"), [(PREPARING, CANCELLED), ("planning", CANCELLED)])
def test_restore_whose_coordinator_was_killed_is_cancelled_later(
    script: Script, phase: str, ends: str
) -> None:
    script.run()
    context = script.context()
    killed = replace(script.record(), phase=phase, finished=None)
    write(context.store, context.config.trust, None, killed)
    with pytest.raises(
        LockedError, match=f"The fleet restore {killed.id} is under way, coordinated on admin"
    ):
        settle_earlier(context, script.send)
    script.fleet.clock.ahead += timedelta(minutes=6)
    assert settle_earlier(context, script.send) is None
    assert script.record().phase == ends


def test_error_while_the_plan_is_shown_cancels(script: Script) -> None:
    begun = coordinating(script.context(), FleetRestoreRequest(), script.send)
    with pytest.raises(KeyboardInterrupt), begun as coordinator:
        coordinator.plan()
        raise KeyboardInterrupt
    assert script.record().phase == CANCELLED and no_claims(script.fleet)


@pytest.mark.parametrize(
    ("request_of", "words"),
    [
        (lambda: FleetRestoreRequest(id="20200101T000000Z-7f3a9c"), "There is no fleet backup"),
        (lambda: FleetRestoreRequest(by_hand=("db-9",)), "--by-hand names 'db-9'"),
        (lambda: FleetRestoreRequest(action=UNDO), "There is no fleet restore to undo"),
        (lambda: FleetRestoreRequest(action=UNDO, id="x"), "There is no fleet restore 'x'"),
        (lambda: FleetRestoreRequest(start_within=timedelta(seconds=1)), "at least a minute"),
    ],
)
def test_request_that_cannot_be_met_is_refused(
    script: Script, request_of: Callable[[], FleetRestoreRequest], words: str
) -> None:
    with pytest.raises(UsageError, match=words), coordinating(script.context(), request_of(), script.send):
        pass
    assert script.sent == []
    assert list(restore_ids(script.fleet.base.store, script.fleet.clock() - timedelta(days=1))) == []


def test_host_without_queue_can_take_part_by_hand_only(script: Script) -> None:
    hosts = {name: {"queue": f"backup-{name}", "sites": [name]} for name in ("web-1", "web-2")}
    script.fleet.own["admin"] = {"HOSTS": hosts}
    context = script.context()
    refused = coordinating(context, FleetRestoreRequest(), script.send)
    with pytest.raises(UsageError, match="declares no queue of the host 'web-3'"), refused:
        pass
    with coordinating(context, FleetRestoreRequest(by_hand=("web-3",)), script.send) as coordinator:
        assert coordinator.record.by_hand == ("web-3",)


def test_coordinator_without_signing_key_is_refused_where_keys_are_trusted(script: Script) -> None:
    context = script.context()
    trust = replace(context.config.trust, keys=(TrustedKey(name="web-1", public=bytes(32)),))
    context = replace(context, config=replace(context.config, trust=trust))
    refused = coordinating(context, FleetRestoreRequest(), script.send)
    with pytest.raises(RefusedError, match="This host has no signing key"), refused:
        pass
