"""A fleet of three hosts on one machine: each has folders, settings and a Celery worker of its own."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.services.project import Project
from tests.tasks.celery_app import Program, worker

DB, WEB_1, WEB_2 = "db-1", "web-1", "web-2"
HOSTS = {
    DB: {"queue": "backup-db-1", "databases": ["default"]},
    WEB_1: {"queue": "backup-web-1", "sites": ["sites-data", "uploads"]},
    WEB_2: {"queue": "backup-web-2", "sites": ["sites-data"]},
}
SETTINGS = """
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
IGNY8_BACKUP["HOSTS"] = {hosts!r}
{further}
"""


class FleetHosts:
    """The hosts of ``declared`` by name: projects with one storage and one database.

    ``further`` are more settings. They are read on every host, after ``HOSTS``.
    """

    def __init__(
        self, db: Project, broker: str, further: str = "", declared: Mapping[str, dict[str, Any]] = HOSTS
    ) -> None:
        self.db = db
        self.declared = declared
        db.seed_small()
        db.environment |= {"CELERY_BROKER_URL": broker, "IGNY8_BACKUP_HOST": DB}
        self.hosts = {DB: db}
        for name in declared:
            if name != DB:
                self.hosts[name] = self._add(name)
        for host in self.hosts.values():
            host.settings(SETTINGS.format(hosts=declared, further=further))

    def _add(self, name: str) -> Project:
        folder = self.db.folder / name
        folder.mkdir()
        made = Project(self.db.server, folder)
        made.database, made.storage = self.db.database, self.db.storage
        own = ("SITES_DATA", "UPLOADS", "LOGS", "BACKUP_STATE_DIR", "BACKUP_SCRATCH_DIR")
        kept = {f"IGNY8_{key}": made.environment[f"IGNY8_{key}"] for key in own}
        made.environment = {**self.db.environment, **kept, "IGNY8_BACKUP_HOST": name, "HOME": str(made.home)}
        (made.sites / "index.html").write_text(f"the start page of {name}\n")
        (made.uploads / "logo.png").write_bytes(name.encode() * 1000)
        return made

    @contextmanager
    def workers(self, names: Sequence[str] = (DB, WEB_1, WEB_2), *argv: str) -> Iterator[dict[str, Program]]:
        """Run a worker on each of these hosts, which listens to the queue of its host only."""
        with ExitStack() as stack:
            yield {name: stack.enter_context(self.worker(name, *argv)) for name in names}

    def worker(self, name: str, *argv: str) -> Program:
        """Start the worker of one host. Use the result as a context manager."""
        queue = str(self.declared[name]["queue"])
        return worker(self.hosts[name], name, "--pool=solo", "--queues", queue, *argv)

    @contextmanager
    def coordinator(self, *argv: str) -> Iterator[subprocess.Popen[str]]:
        """Run ``backup_fleet`` on db-1 during the block."""
        process = self.db.start("backup_fleet", *argv)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def runs(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Return the records of the parts of the newest fleet backup, by host and kind."""
        folder = self.db.storage / "igny8/fleets" / self.records()[-1]["id"]
        found = {}
        for kind in ("database", "files"):
            for path in folder.glob(f"*.{kind}.json"):
                found[path.name.removesuffix(f".{kind}.json"), kind] = json.loads(path.read_text())
        return found

    def records(self) -> list[dict[str, Any]]:
        """Return the records of all fleet backups, oldest first."""
        found = sorted((self.db.storage / "igny8/fleets").glob("*/fleet.json"))
        return [json.loads(path.read_text()) for path in found]

    def manifest(self, backup_id: str) -> dict[str, Any]:
        path = self.db.storage / "igny8/backups" / backup_id / "manifest.json"
        found: dict[str, Any] = json.loads(path.read_text())
        return found


def wait_for(found: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait for a condition. Fails if the process ends before."""
    while not found():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def tree(folder: Path) -> dict[str, bytes]:
    """Return the files below ``folder`` with their contents."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
