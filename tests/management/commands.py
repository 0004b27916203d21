"""Commands in a project: one by one as an operator runs them, or many in one process, which is quicker."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.services.project import PYTHON, Project

PROGRAM = Path(__file__).with_name("in_one_process.py")
SECONDS = 300


@dataclass(frozen=True)
class Command:
    """What to run, with ``IGNY8_BACKUP`` changed by ``settings`` and another ``storage`` folder, if given."""

    argv: Sequence[str | Path]
    settings: Mapping[str, Any] = field(default_factory=dict)
    storage: Path | None = None


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    argv: list[str]
    returncode: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def said(self) -> str:
        return self.stdout + self.stderr

    def ended(self, status: int) -> Done:
        """Itself; fails the test if it did not end so, or with a traceback."""
        assert self.returncode == status, f"{self.argv} ended with {self.returncode}:\n{self.said}"
        assert "Traceback" not in self.said, self.said
        return self


def run_many(
    project: Project, *commands: Command | Sequence[str | Path], env: Mapping[str, str] | None = None
) -> list[Done]:
    """Runs them in one process, in order; fails the test if one leaves descriptors, threads or children."""
    listed = [item if isinstance(item, Command) else Command(item) for item in commands]
    work: list[dict[str, Any]] = [
        {
            "argv": [str(word) for word in item.argv],
            "settings": dict(item.settings),
            "storage": str(item.storage) if item.storage else None,
        }
        for item in listed
    ]
    process = subprocess.run(
        [*PYTHON, PROGRAM],
        input=json.dumps(work),
        capture_output=True,
        text=True,
        cwd=project.folder,
        env={**project.environment, **(env or {})},
        timeout=SECONDS,
    )
    assert process.returncode == 0, process.stderr
    results = json.loads(process.stdout)
    found = []
    for item, result in zip(work, results, strict=True):
        assert not result.pop("left"), (item["argv"], result)
        found.append(Done(argv=item["argv"], **result))
    return found


def run_one(project: Project, *argv: str | Path, env: Mapping[str, str] | None = None) -> Done:
    """One command in a process of its own."""
    done = project.run(*argv, env=env)
    return Done([str(word) for word in argv], done.returncode, done.stdout, done.stderr)
