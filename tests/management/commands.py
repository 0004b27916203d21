"""Run commands in a project: one by one as an operator does, or many in one process, which is faster."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.services.project import MEASURING, PYTHON, Project

PROGRAM = Path(__file__).with_name("in_one_process.py")


@dataclass(frozen=True)
class Command:
    """A command to run, with changes to ``IGNY8_BACKUP`` and another ``storage`` folder, if given."""

    argv: Sequence[str | Path]
    settings: Mapping[str, Any] = field(default_factory=dict)
    storage: Path | None = None


@dataclass(frozen=True)
class Done:
    """The result of a command."""

    argv: list[str]
    returncode: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def output(self) -> str:
        """Standard output and standard error."""
        return self.stdout + self.stderr

    def ended(self, status: int) -> Done:
        """Return the result itself. Fails the test if the exit status differs or there was a traceback."""
        assert self.returncode == status, f"{self.argv} ended with {self.returncode}:\n{self.output}"
        assert "Traceback" not in self.output, self.output
        return self


class _Server:
    """The program ``in_one_process``, started on first use and stopped when the tests end."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def run(self, job: dict[str, Any]) -> Any:
        """Return the results of the commands of a job. Fails the test if they did not all end."""
        if self._process is None or self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="igny8-commands-")
            self._process = subprocess.Popen(
                [*PYTHON, PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **MEASURING},
            )
            atexit.register(self._stop, self._process, self._folder)
        answer, output = Path(self._folder.name, "answer"), Path(self._folder.name, "output")
        output.write_text("")
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({**job, "answer": str(answer), "output": str(output)}) + "\n")
        self._process.stdin.flush()
        status = self._process.stdout.readline()
        assert status == "0\n", f"{status}{output.read_text()}"
        return json.loads(answer.read_text())

    def _stop(self, process: subprocess.Popen[str], folder: tempfile.TemporaryDirectory[str]) -> None:
        process.communicate()
        folder.cleanup()


_server = _Server()


def run_many(
    project: Project, *commands: Command | Sequence[str | Path], env: Mapping[str, str] | None = None
) -> list[Done]:
    """Run commands in one process. Fails the test if one leaves descriptors, threads or children."""
    listed = [item if isinstance(item, Command) else Command(item) for item in commands]
    work: list[dict[str, Any]] = [
        {
            "argv": project.words(item.argv),
            "settings": dict(item.settings),
            "storage": str(item.storage) if item.storage else None,
        }
        for item in listed
    ]
    os.umask(umask := os.umask(0))
    results = _server.run(
        {
            "commands": work,
            "environment": {**project.environment, **(env or {})},
            "folder": str(project.folder),
            "umask": umask,
        }
    )
    found = []
    for item, result in zip(work, results, strict=True):
        assert not result.pop("left"), (item["argv"], result)
        found.append(Done(argv=item["argv"], **result))
    return found


def run_one(project: Project, *argv: str | Path, env: Mapping[str, str] | None = None) -> Done:
    """Run one command in its own process."""
    done = project.run(*argv, env=env)
    return Done([str(word) for word in argv], done.returncode, done.stdout, done.stderr)
