"""A program that runs a command repeatedly and sends each run a signal a little later than the last.

``signalled.py TIMES ARGV...`` first lets the command finish, to measure its duration. Then it sends SIGTERM
and SIGINT in turn, at times spread over that duration, counted from when the command has installed its
handlers. After each run it prints ``after`` (seconds), ``signal``, ``status`` and ``output`` as a line of
JSON, and waits for a line on stdin. Each run is a fork, which saves the start of Python and Django.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

REPOSITORY = Path(__file__).resolve().parents[2]
SIGNALS = (signal.SIGTERM, signal.SIGINT)
SECONDS = 120


def has_its_handlers(pid: int) -> bool:
    """Return whether the process catches SIGTERM, that is, whether the command has begun or ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True
    if "\nState:\tZ" in status:
        return True
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def run(argv: list[str], output: IO[bytes]) -> None:
    """Run the command in the child process."""
    from django.core.management import ManagementUtility

    signal.alarm(SECONDS)
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    ManagementUtility(["manage.py", *argv]).execute()


def once(argv: list[str], number: int, after: float) -> dict[str, Any] | None:
    """Run the command once and return its result; ``None`` in the child process."""
    with tempfile.TemporaryFile() as output:
        pid = os.fork()
        if pid == 0:
            run(argv, output)
            return None
        while not has_its_handlers(pid):
            time.sleep(0.001)
        begun = time.monotonic()
        if number:
            time.sleep(after)
            os.kill(pid, number)  # os.waitpid was not called yet, so the id is not reused
        _, status = os.waitpid(pid, 0)
        output.seek(0)
        text = output.read().decode(errors="replace")
    took = time.monotonic() - begun
    code = os.waitstatus_to_exitcode(status)
    return {"after": after, "signal": number, "status": code, "output": text, "took": took}


def main(times: int, argv: list[str]) -> None:
    import django

    django.setup()
    # Coverage catches SIGTERM, which would look like the handler of the command.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    took = 0.0
    for turn in range(times + 1):
        number = SIGNALS[turn % 2] if turn else 0
        result = once(argv, number, took * (turn - 1) / times if turn else 0)
        if result is None:
            return
        took = took or result["took"]
        print(json.dumps(result), flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    sys.path[0:1] = [str(REPOSITORY / "testproject"), str(REPOSITORY)]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    main(int(sys.argv[1]), sys.argv[2:])
