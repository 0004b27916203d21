"""What commands print, compared with what a page shows."""

from __future__ import annotations

import re
import shlex

from tests.services.project import Project

VULNERABLE = "which has known security holes"
"""In the notes of plans about the servers of the tests. Readers of the pages have current ones."""


def as_on_the_page(text: str, project: Project) -> str:
    """Replace the names of the test project in the output by those that the pages use."""
    names = {
        project.database: "igny8",
        str(project.server.bin_dir): f"/usr/lib/postgresql/{project.server.major}/bin",
        str(project.storage): "/data/backups",
        str(project.folder / "offsite"): "/data/offsite",
        str(project.sites): "/data/app/sites-data",
        str(project.uploads): "/data/app/igny8/sites",
        str(project.logs): "/data/app/logs",
        str(project.scratch): "/data/backup-scratch",
        str(project.state): "/data/backup-state",
        "unknown: the broker is in memory, so no worker outside this process can use it": (
            "none answers on redis://redis:6379/0; 0 tasks in the queues"
        ),
        "web-1": "igny8-1",
        "environment test": "environment production",
        '"ENVIRONMENT": "test"': '"ENVIRONMENT": "production"',
    }
    for name, shown in names.items():
        text = text.replace(name, shown)
    return re.sub(re.escape(project.server.host) + r":\d+", "db:5432", text)


def skeleton(text: str) -> list[str]:
    """Return the sorted lines without ids, times, sizes and versions, which differ from run to run.

    They are sorted because standard output and standard error mix in any order."""
    for pattern, word in (
        (r"\d{8}T\d{6}Z(-[0-9a-f]{6})?", "ID"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "TIME"),
        (r"(, )?\d+ (second|minute|hour)s?( (and )?\d+ (second|minute)s?)?", " TIME"),
        (r"[\d,.]+ ([kMGT]?B|bytes)", "SIZE"),
        (r"\d[\d.]*", "N"),
    ):
        text = re.sub(pattern, word, text)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return sorted(line for line in lines if VULNERABLE not in line)


def commands_shown(block: str) -> list[tuple[list[str], str]]:
    """Return the arguments of each command in a console block, and the output shown below it."""
    found = []
    for part in re.split(r"(?m)^\$ ", block)[1:]:
        line, _, shown = part.partition("\n")
        python, manage, *argv = shlex.split(line)
        assert (python, manage) == ("python", "manage.py"), line
        found.append((argv, shown))
    return found
