"""Restore, undo and discard in child processes that are killed with SIGKILL at a chosen moment.

Each line of standard input is a job. ``{"work": "restore", "at": 7}`` kills the child before its seventh
action on the disk, on a program or on a journal; ``{"after": 0.2}`` kills it after that many seconds; without
both it runs to its end. A line of standard output says how the child ended (as ``subprocess`` does), how many
actions it did, and what it raised. The children are forked from one interpreter that has planned the restore.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[3]
BOUNDARIES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.listdir", "subprocess.Popen"}
"""Audit events that Python raises before an action (Python documentation, "Audit events table")."""


class Boundaries:
    """Count actions in memory that the parent can read, and kill the process at one of them."""

    def __init__(self, kill_at: int | None) -> None:
        self._kill_at = kill_at
        self.number = 0
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: Any) -> None:
        if event in BOUNDARIES:
            self.passed()

    def passed(self) -> None:
        self.number += 1
        if self.number == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    import django

    django.setup()

    from django.db.migrations.loader import MigrationLoader

    from igny8_backup.operations.context import open_context
    from igny8_backup.operations.progress import NullProgress
    from igny8_backup.operations.restore.planning.plan import RestoreRequest
    from igny8_backup.operations.restore.planning.planner import plan_restore
    from igny8_backup.operations.restore.run import RestoreSession
    from igny8_backup.operations.restore.workers import IGNORE, WorkersPolicy
    from igny8_backup.operations.undo.discard import discard
    from igny8_backup.operations.undo.run import undo

    MigrationLoader(None)  # modules imported here need not be imported by the children

    class CountedNotes(NullProgress):
        """Progress notes count as actions as well."""

        def __init__(self, boundaries: Boundaries) -> None:
            self._passed = boundaries.passed

        def begin(self, what: str, total: int | None, count: int | None = None, unit: str = "files") -> None:
            self._passed()

        def end(self) -> None:
            self._passed()

    with open_context() as context:
        plan = plan_restore(context, RestoreRequest(workers=WorkersPolicy(mode=IGNORE)))

    def work(job: dict[str, Any], report: int) -> None:
        boundaries = Boundaries(job.get("at"))
        error = ""
        try:
            with open_context(progress=CountedNotes(boundaries)) as context:
                if job["work"] == "restore":
                    RestoreSession(context).execute(plan)
                elif job["work"] == "settle":
                    RestoreSession(context).settle()
                elif job["work"] == "undo":
                    undo(context)
                else:
                    discard(context)
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
        os.write(report, json.dumps({"boundaries": boundaries.number, "error": error}).encode())

    for line in sys.stdin:
        job = json.loads(line)
        reading, report = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            work(job, report)
            os._exit(0)
        os.close(report)
        if "after" in job:
            time.sleep(job["after"])
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        with open(reading, "rb") as stream:
            answer = json.loads(stream.read() or b'{"boundaries": 0, "error": ""}')
        print(json.dumps({"status": os.waitstatus_to_exitcode(status), **answer}), flush=True)


if __name__ == "__main__":
    sys.path[0:1] = [str(REPOSITORY / "testproject"), str(REPOSITORY)]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    main()
