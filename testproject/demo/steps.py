"""Run management commands of the project as an operator would: each in a separate process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

MANAGE = Path(__file__).resolve().parent.parent / "manage.py"
STOP_SECONDS = 30


class StepFailed(Exception):
    """A command ended with an exit status other than 0."""


class Steps:
    """``environment`` is the environment of the commands; ``say`` gets each line of their output."""

    def __init__(self, environment: Mapping[str, str], say: Callable[[str], None]) -> None:
        self.environment = dict(environment)
        self._say = say

    def run(self, *argv: str | Path) -> list[str]:
        """Run ``manage.py`` with these arguments and return the lines of its output."""
        shown = " ".join(str(word) for word in argv)
        self._say(f"$ python manage.py {shown}")
        lines: list[str] = []
        process = subprocess.Popen(
            [sys.executable, MANAGE, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env=self.environment,
            cwd=MANAGE.parent,
        )
        with process:
            try:
                for line in process.stdout or ():
                    lines.append(line.rstrip("\n"))
                    self._say(f"  {lines[-1]}")
            except BaseException:
                # Stopped: let the command clean up before we remove the server beneath it.
                process.terminate()
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                raise
        if process.returncode:
            raise StepFailed(f"manage.py {argv[0]} ended with exit status {process.returncode}.")
        return lines
