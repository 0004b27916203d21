"""Run commands without the capabilities of root, so that file permissions apply."""

from __future__ import annotations

import os

from tests.management.commands import Done
from tests.services.project import Project

# Root ignores file permissions unless it lacks these two capabilities.
AS_ANYBODY = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()


def run_as_anybody(project: Project, *argv: str) -> Done:
    done = project.run(*argv, under=AS_ANYBODY)
    return Done(list(argv), done.returncode, done.stdout, done.stderr)
