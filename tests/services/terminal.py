"""A command on a terminal of its own, on which a test types."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Mapping

from tests.services.project import MANAGE, PYTHON, Project


def on_a_terminal(
    project: Project, typed: bytes, *argv: str, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a command on its own terminal and type; return the exit status and the output."""
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
            if typed and b"): " in piece:
                os.write(ours, typed)
                typed = b""
        os.close(ours)
    return process.returncode, shown.decode(errors="replace")
