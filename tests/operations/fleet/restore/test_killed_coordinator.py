"""A coordinator that is killed at any step leaves all hosts previous, or all restored."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from django.conf import settings

from igny8_backup.formats.documents.fleet_restore import RESTORE, UNDO
from tests.operations.fleet.restore.live import DEFACED, GOOD, LiveFleet
from tests.services.project import PYTHON

PROGRAM = Path(__file__).with_name("killable.py")
WRITES = {RESTORE: ("planning", "preparing", "swapping", "done"), UNDO: ("planning", "swapping", "done")}
"""The phases with which the coordinator stores its record, one after the other."""


class Coordinators:
    """The program that coordinates on the host ``admin`` and is killed. Its tasks are done by ``live``."""

    def __init__(self, live: LiveFleet) -> None:
        self._live = live
        own = {"HOST": "admin", "STATE_DIR": live.fleet.folder / "state-admin"}
        made = {"IGNY8_BACKUP": {**live.fleet.settings, **own}, "STORAGES": settings.STORAGES}
        self._process = subprocess.Popen(
            [*PYTHON, PROGRAM, json.dumps({**made, "DEBUG": settings.DEBUG, "MEDIA_ROOT": ""}, default=str)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def kill(self, action: str, restore_id: str, write: int, when: str) -> None:
        """Let a coordinator begin, which is killed before or after it stores its record so often."""
        assert self._process.stdin and self._process.stdout
        job = {"action": action, "id": restore_id, "write": write, "when": when}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            message = json.loads(line)
            if "status" in message:
                assert message["status"] == -signal.SIGKILL
                return
            self._live.work(message["host"], message["restore"])
        raise AssertionError("The program has ended.")

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture
def coordinators(live: LiveFleet) -> Iterator[Coordinators]:
    made = Coordinators(live)
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize("action", [RESTORE, UNDO])
def test_coordinator_killed_at_any_step_leaves_all_hosts_previous_or_restored(
    live: LiveFleet, coordinators: Coordinators, action: str
) -> None:
    phases, decisions = WRITES[action], 0
    for number, when in product(range(len(phases)), ("before", "after")):
        live.deface()
        restored = live.run().record.id if action == UNDO else ""
        before = set(live.ids())
        coordinators.kill(action, restored, number + 1, when)
        begun = [live.record(one) for one in set(live.ids()) - before]
        stored = phases[: number + (when == "after")]
        assert [one.phase for one in begun] == list(stored[-1:])

        live.bury(*begun)
        settled = live.settle()
        decided = bool(begun) and begun[0].decided
        decisions += decided
        assert live.pages() == (GOOD if decided == (action == RESTORE) else DEFACED), (phases[number], when)
        assert live.phases() <= {"done", "undone"}
        assert (settled is not None) == (stored[-1:] == ("swapping",))
    assert decisions == 3
