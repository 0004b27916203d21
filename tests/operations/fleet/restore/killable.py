"""Coordinate fleet restores in child processes that are killed with SIGKILL when they store their record.

The argument is JSON: the settings ``IGNY8_BACKUP`` and ``STORAGES``. Each line of standard input is a job.
``{"action": "restore", "id": "", "write": 2, "when": "after"}`` kills the child as soon as it has stored its
record for the second time, or ``before`` that. A line of standard output is a task that the child sends to a
host, or says how the child ended, as ``subprocess`` does. The children are forked from one interpreter.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[4]


class Killer:
    """Kill this process before or after it stores the record of a fleet restore for the ``number``-th time.

    The record becomes visible when its file is renamed. Python announces that before it happens, and other
    actions on files follow (Python documentation, "Audit events table").
    """

    def __init__(self, number: int, when: str) -> None:
        self._left = number
        self._when = when
        self._stored = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: Any) -> None:
        if self._stored:
            self._stored = False  # to kill is an action that is announced, too
            os.kill(os.getpid(), signal.SIGKILL)
        if event == "os.rename" and os.path.basename(os.fsdecode(args[1])) == "restore.json":
            self._left -= 1
            self._stored = self._left == 0 and self._when == "after"
            if self._left == 0 and self._when == "before":
                os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    import django
    from django.conf import settings

    django.setup()
    for name, value in json.loads(sys.argv[1]).items():
        setattr(settings, name, value)

    from igny8_backup.operations.context import open_context
    from igny8_backup.operations.fleet.restore import follow
    from igny8_backup.operations.fleet.restore.coordinate import coordinating
    from igny8_backup.operations.fleet.restore.request import FleetRestoreRequest
    from igny8_backup.operations.restore.workers import IGNORE, WorkersPolicy

    follow.PAUSE = follow.LONGEST_PAUSE = 0.01

    def send(name: str, arguments: Mapping[str, Any], **options: Any) -> None:
        print(json.dumps(dict(arguments)), flush=True)

    def work(job: dict[str, Any]) -> None:
        Killer(job["write"], job["when"])
        request = FleetRestoreRequest(action=job["action"], id=job["id"], workers=WorkersPolicy(mode=IGNORE))
        with open_context() as context, coordinating(context, request, send) as coordinator:
            coordinator.execute(coordinator.plan())

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            work(json.loads(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    sys.path[0:1] = [str(REPOSITORY / "testproject"), str(REPOSITORY)]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    main()
