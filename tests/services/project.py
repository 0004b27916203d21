"""The test project with its own database, folders and environment, as an operator would run it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyrage
from demo import files
from demo.seed import fill_postgres
from demo.server import PostgresServer
from demo.words import site_names

MANAGE = Path(__file__).resolve().parents[2] / "testproject" / "manage.py"
PYTHON = (sys.executable, "-X", "dev", "-W", "error")
COVERAGE_STARTUP = str(Path(__file__).with_name("coverage_startup"))
"""Must be on the path of processes that start workers while coverage is measured."""
MEASURING: dict[str, str] = {}
"""The variables with which a process measures its coverage; empty if it is not measured."""
TEMPLATE = "project_template"
SMALL_ACCOUNTS, SMALL_FILES = 2, 60
SECONDS = 300
ALLOW_VULNERABLE = "--allow-vulnerable-tools"


def consenting(argv: Sequence[str | Path]) -> list[str]:
    """Add the option that allows programs with known security holes to a command that restores.

    The PostgreSQL 16.14 and 18.4 of the package index have such holes, and most backups of the tests are not
    signed: without the option, every restore would ask for a confirmation.
    """
    words = [str(word) for word in argv]
    if words[:1] in (["restore_all"], ["extract_backup"]) and ALLOW_VULNERABLE not in words:
        words.append(ALLOW_VULNERABLE)
    return words


class Project:
    """A working folder, a migrated and empty database on ``server``, and an environment for both.

    ``run`` runs a management command in it. The server's role is no superuser; DEBUG is off. ``identity`` is
    a file with the private key of ``recipient``; the environment names the recipient only. ``consents``:
    restores may use programs with known security holes.
    """

    consents = True

    def __init__(self, server: PostgresServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.database = f"project_{uuid.uuid4().hex[:12]}"
        self.storage = folder / "storage"
        self.sites = folder / "sites-data"
        self.uploads = folder / "uploads"
        self.logs = folder / "logs"
        self.state = folder / "state"
        self.scratch = folder / "scratch"
        self.home = folder / "home"
        for path in (self.storage, self.sites, self.uploads, self.logs, self.state, self.scratch, self.home):
            path.mkdir()
        key = pyrage.x25519.Identity.generate()
        self.recipient = str(key.to_public())
        self.identity = self.home / "identity.txt"
        self.identity.touch(mode=0o600)
        self.identity.write_text(f"# public key: {self.recipient}\n{key}\n")
        self.environment = {
            **base_environment(self.home),
            "DATABASE_URL": server.url(self.database),
            "IGNY8_BACKUP_FOLDER": str(self.storage),
            "IGNY8_SITES_DATA": str(self.sites),
            "IGNY8_UPLOADS": str(self.uploads),
            "IGNY8_LOGS": str(self.logs),
            "IGNY8_BACKUP_STATE_DIR": str(self.state),
            "IGNY8_BACKUP_SCRATCH_DIR": str(self.scratch),
            "IGNY8_BACKUP_HOST": "web-1",
            "IGNY8_BACKUP_ENVIRONMENT": "test",
            "IGNY8_BACKUP_RECIPIENTS": self.recipient,
            "IGNY8_BACKUP_CLIENT_BIN_DIR": str(server.bin_dir),
        }

    def __repr__(self) -> str:
        return f"<Project {self.database} in {self.folder}>"

    def words(self, argv: Sequence[str | Path]) -> list[str]:
        """Return the arguments of a command as they are given to it."""
        return consenting(argv) if self.consents else [str(word) for word in argv]

    def run(
        self,
        *argv: str | Path,
        input: str | None = None,  # noqa: A002 - as subprocess.run calls it
        env: Mapping[str, str] | None = None,
        check: bool = False,
        under: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run ``manage.py`` with these arguments, its output captured; ``env`` adds to the environment.

        With ``check`` an exit status other than 0 fails the test and shows what was printed. ``under`` is a
        program with its arguments that starts another one, as ``setpriv`` does.
        """
        done = subprocess.run(
            [*under, *PYTHON, MANAGE, *self.words(argv)],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            encoding="utf-8",
            cwd=self.folder,
            env={**self.environment, **(env or {})},
            timeout=SECONDS,
        )
        if check and done.returncode:
            raise AssertionError(f"{argv[0]} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def start(
        self, *argv: str | Path, env: Mapping[str, str] | None = None, under: Sequence[str] = ()
    ) -> subprocess.Popen[str]:
        """Start ``manage.py`` with pipes for its output. Use the result as a context manager."""
        return subprocess.Popen(
            [*under, *PYTHON, MANAGE, *self.words(argv)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            cwd=self.folder,
            env={**self.environment, **(env or {})},
        )

    def sql(self, query: str, *parameters: object, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run a statement as the role of the application and return its rows."""
        with self.server.connect(database or self.database) as connection:
            cursor = connection.execute(query.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def seed_small(self) -> int:
        """Write about 2,000 rows and 100 files, including unusual ones; return the number of rows."""
        with self.server.connect(self.database) as connection:
            rows = fill_postgres(connection, SMALL_ACCOUNTS)
        folders = [site.folder for site in site_names(SMALL_ACCOUNTS)]
        files.write(self.sites, self.uploads, folders, files=SMALL_FILES)
        (self.logs / "worker.log").write_text("a line\n" * 100)
        return rows

    def settings(self, source: str) -> None:
        """Add settings: Python source that runs after ``project.settings``."""
        folder = self.folder / "settings"
        folder.mkdir(exist_ok=True)
        (folder / "further_settings.py").write_text(f"from project.settings import *\n{source}\n")
        self.environment |= {
            "PYTHONPATH": f"{folder}:{self.environment['PYTHONPATH']}",
            "DJANGO_SETTINGS_MODULE": "further_settings",
        }

    @contextmanager
    def worker(self, broker: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a Celery worker of the project during the block; it is ready when the block starts.

        Without ``-W error``: Celery warns of a worker that runs as root. Its output is in ``worker.log``.
        """
        log = self.folder / "worker.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "project", "worker", "--pool=solo", "--loglevel=INFO"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env={**self.environment, "CELERY_BROKER_URL": broker},
            )
        try:
            deadline = time.monotonic() + SECONDS
            while " ready." not in log.read_text(errors="replace"):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"The worker did not start:\n{log.read_text(errors='replace')}")
                time.sleep(0.1)
            yield process
        finally:
            process.terminate()
            process.wait(SECONDS)

    def databases(self) -> list[str]:
        """Return the names of the project's database and of those that restores created."""
        with self.server.connect() as connection:
            cursor = connection.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %s) ORDER BY datname",
                [self.database],
            )
            return [name for (name,) in cursor]


def base_environment(home: Path) -> dict[str, str]:
    """Return the environment of every command: of the shell's, only PATH and what measures coverage."""
    coverage = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    measured = [COVERAGE_STARTUP] if coverage else []
    return coverage | {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "DJANGO_DEBUG": "0",
        "DJANGO_SECRET_KEY": "a key for tests, of no use elsewhere, fifty characters long",
        "CELERY_BROKER_URL": "memory://",
        # For programs other than manage.py, which finds both by itself.
        "PYTHONPATH": ":".join(str(path) for path in (MANAGE.parent.parent, MANAGE.parent, *measured)),
    }


def unmeasured(environment: Mapping[str, str]) -> dict[str, str]:
    """Return ``environment`` without what measures coverage.

    For processes that are sent signals: one that arrives while the coverage is saved prints a traceback.
    """
    path = [folder for folder in environment["PYTHONPATH"].split(":") if folder != COVERAGE_STARTUP]
    others = {name: value for name, value in environment.items() if not name.startswith("COVERAGE_")}
    return others | {"PYTHONPATH": ":".join(path)}


def prepare_template(server: PostgresServer, folder: Path) -> None:
    """Create a migrated template database, which the databases of the tests are copied from."""
    with server.connect() as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [TEMPLATE]).fetchone():
            return
    server.create_database(TEMPLATE)
    environment = {**base_environment(folder), "DATABASE_URL": server.url(TEMPLATE)}
    done = subprocess.run(
        [sys.executable, MANAGE, "migrate", "--verbosity=0"], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        server.drop_database(TEMPLATE)
        raise RuntimeError(f"migrate failed: {done.stderr[-4000:]}")


def drop(project: Project) -> None:
    """Remove the project's databases."""
    for name in project.databases():
        project.server.drop_database(name)


def create(server: PostgresServer, folder: Path) -> Project:
    """Return a project whose database is a fresh copy of the migrated template."""
    prepare_template(server, folder)
    project = Project(server, folder)
    server.create_database(project.database, template=TEMPLATE)
    return project
