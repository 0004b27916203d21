"""A command on a terminal of its own, on which a test types."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterable, Mapping

from tests.services.project import MANAGE, PYTHON, Project


def on_a_terminal(
    project: Project,
    typed: bytes | Iterable[bytes],
    *argv: str,
    env: Mapping[str, str] | None = None,
    prompt: bytes = b"): ",
) -> tuple[int, str]:
    """Run a command on its own terminal and type; return the exit status and the output.

    ``typed`` is typed when the output ends with ``prompt``; of several answers, one each time.
    """
    answers = [typed] if isinstance(typed, bytes) else list(typed)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PYTHON, MANAGE, *project.words(argv)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=project.folder,
        env={**project.environment, "TERM": "xterm", **(env or {})},
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux raises when the other end is closed
                break
            shown += piece
            if answers and shown.endswith(prompt):
                os.write(ours, answers.pop(0))
        os.close(ours)
    return process.returncode, shown.decode(errors="replace")
