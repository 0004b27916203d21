"""Runs the project's management commands as an operator would: each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

MANAGE = Path(__file__).resolve().parent.parent / "manage.py"
STOP_SECONDS = 30


class StepFailed(Exception):
    """A command ended with another exit status than 0."""


class Steps:
    """``environment`` is all that the commands see; ``say`` gets each line that they print."""

    def __init__(self, environment: Mapping[str, str], say: Callable[[str], None]) -> None:
        self.environment = dict(environment)
        self._say = say

    def run(self, *argv: str | Path) -> list[str]:
        """Run ``manage.py`` with these arguments; return the lines it printed."""
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
