"""The demo: fill an application, back it up, destroy it, restore it, and compare."""

from __future__ import annotations

import secrets
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from demo import fingerprint
from demo.installed import installed
from demo.server import PostgresServer
from demo.steps import Steps
from demo.workplace import Workplace

MAJOR = 18
HOST = "127.0.0.1"
DATABASE = "igny8"
Say = Callable[[str], None]


class Different(Exception):
    """The restored data differs from the original."""


class Story:
    """A run of the demo. ``environment`` is what commands inherit of the shell; ``say`` prints a line."""

    def __init__(self, place: Workplace, environment: Mapping[str, str], say: Say) -> None:
        self.place = place
        self._shell = environment
        self._say = say
        self.seconds: dict[str, float] = {}

    def tell(self, rows: int, files: int, *, serve: bool = False) -> None:
        """Run the whole demonstration. With ``serve``, serve the admin of the restored application after it.

        Raises ``Different`` when what came back is not what was there, ``StepFailed`` when a command fails,
        ``RuntimeError`` when PostgreSQL is missing or does not start.
        """
        bin_dir = installed(MAJOR)
        if bin_dir is None:
            raise RuntimeError('PostgreSQL 18 is missing. Install it with: pip install "igny8-backup[demo]"')
        with self._timed(f"Start PostgreSQL {MAJOR}"):
            server = PostgresServer(bin_dir, self.place.server())
            server.start()
        try:
            self._with_server(server, bin_dir, rows, files, serve)
        finally:
            server.stop()

    def _with_server(self, server: PostgresServer, bin_dir: Path, rows: int, files: int, serve: bool) -> None:
        self._say(f"  127.0.0.1:{server.port}, a role without superuser rights, passwords, a private folder")
        server.create_database(DATABASE)
        steps = Steps(self._environment(server, bin_dir), self._say)
        with self._timed("Create the application's tables"):
            steps.run("migrate", "--verbosity=0")
        with self._timed("Fill it with accounts, invoices, articles, sites"):
            steps.run("seed", f"--rows={rows}", f"--files={files}")
        with self._timed("Make the keys: those that read backups do not stay on the server"):
            self._make_key(steps)
        with self._timed("Back up the database and the files"):
            steps.run("backup_all")
        with self._timed("List what is stored"):
            steps.run("list_backups")
        with self._timed("Write down what there is, to compare"):
            before = self._look(server)
        with self._timed("Destroy the database and every file"):
            self._destroy(server)
        with self._timed("Restore, with the private key"):
            # Nothing but this demo writes to its storage. The package index has only PostgreSQL 18.4 so far.
            confirmed = ["--noinput", "--allow-vulnerable-tools", "--database-name", DATABASE]
            steps.run("restore_all", *confirmed, "--identity", self.place.key)
        with self._timed("Compare"):
            after = self._look(server)
            self._compare(before, after)
        if serve:
            self._serve(steps)
        else:
            self._sum_up(before, bin_dir)

    def _serve(self, steps: Steps) -> None:
        """Serve the admin on this machine until the command is stopped."""
        password, port = secrets.token_urlsafe(9), _free_port()
        steps.environment |= {"DJANGO_SUPERUSER_PASSWORD": password, "DJANGO_ALLOWED_HOSTS": HOST}
        self._say("\nBack up again, so that the page shows the restore as well")
        steps.run("backup_all")
        steps.run("createsuperuser", "--noinput", "--username=demo", "--email=demo@example.org")
        self._say(f"\nOpen http://{HOST}:{port}/admin/igny8_backup/backup/")
        self._say(f"  user      demo\n  password  {password}\nPress Ctrl-C to stop the servers.\n")
        # DEBUG is off, as in production: --insecure serves the style sheets all the same.
        steps.run("runserver", f"{HOST}:{port}", "--insecure", "--noreload", "--skip-checks")

    def _environment(self, server: PostgresServer, bin_dir: Path) -> dict[str, str]:
        """Return the environment of the commands, which contains the settings of the project."""
        place = self.place
        return {
            **self._shell,
            "PYTHONUNBUFFERED": "1",
            "PYTHONUTF8": "1",
            "DJANGO_DEBUG": "0",
            "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
            "DATABASE_URL": server.url(DATABASE),
            "CELERY_BROKER_URL": "memory://",
            "IGNY8_SITES_DATA": str(place.sites),
            "IGNY8_UPLOADS": str(place.uploads),
            "IGNY8_BACKUP_FOLDER": str(place.storage),
            "IGNY8_BACKUP_STATE_DIR": str(place.state),
            "IGNY8_BACKUP_SCRATCH_DIR": str(place.scratch),
            "IGNY8_BACKUP_CLIENT_BIN_DIR": str(bin_dir),
            "IGNY8_BACKUP_HOST": "demo",
            "IGNY8_BACKUP_ENVIRONMENT": "demo",
        }

    def _make_key(self, steps: Steps) -> None:
        lines = [line.strip() for line in steps.run("generate_backup_key", self.place.key)]
        steps.environment["IGNY8_BACKUP_RECIPIENTS"] = _first(lines, "age1")
        steps.environment["IGNY8_BACKUP_TRUSTED"] = _first(lines, "ssh-ed25519 ")
        steps.environment["IGNY8_BACKUP_SIGNING_KEY"] = str(self.place.signing_key)

    def _look(self, server: PostgresServer) -> dict[str, dict[str, Any]]:
        with server.connect(DATABASE) as connection:
            database = fingerprint.of_database(connection)
        roots = {"sites-data": self.place.sites, "uploads": self.place.uploads}
        found = {"database": database} | {name: fingerprint.of_tree(root) for name, root in roots.items()}
        invoices, payments = database["money in invoices"], database["money in payments"]
        self._say(f"  {fingerprint.rows_in(database):,} rows; invoices {invoices:,}, payments {payments:,}")
        for name in roots:
            self._say(f"  {name}: {len(found[name]):,} files, folders and links")
        return found

    def _destroy(self, server: PostgresServer) -> None:
        server.drop_database(DATABASE)
        for root in (self.place.sites, self.place.uploads):
            for child in root.iterdir():
                if child.is_dir() and not child.is_symlink():
                    shutil.rmtree(child)
                else:
                    child.unlink()
            self._say(f"  {root.name}: {len(list(root.iterdir()))} entries left")
        try:
            server.connect(DATABASE).close()
        except psycopg.OperationalError as error:
            self._say(f"  {str(error).strip().splitlines()[-1].strip()}")
        else:
            raise RuntimeError(f"The database {DATABASE} is still there.")

    def _compare(self, before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> None:
        different = False
        for name, values in before.items():
            lines = fingerprint.differences(values, after[name])
            self._say(f"  {name}: {'DIFFERENT' if lines else f'equal, {len(values):,} things compared'}")
            for line in lines[:20]:
                self._say(f"    {line}")
            different = different or bool(lines)
        if different:
            raise Different("What came back is not what was there.")

    def _sum_up(self, before: dict[str, dict[str, Any]], bin_dir: Path) -> None:
        place = self.place
        raw = sum(path.lstat().st_size for root in (place.sites, place.uploads) for path in _files(root))
        stored = sum(path.stat().st_size for path in _files(place.storage))
        self._say("\nWhat was measured")
        for title, seconds in self.seconds.items():
            self._say(f"  {seconds:6.1f} s  {title}")
        self._say(f"  {sum(self.seconds.values()):6.1f} s  in all")
        self._say(
            f"  {fingerprint.rows_in(before['database']):,} rows and {raw / 1e6:,.1f} MB of files are"
            f" {stored / 1e6:,.1f} MB in storage, encrypted."
        )
        self._say(f"\nWhere everything lies, until the next demo\n  storage      {place.storage}")
        self._say(f"  private key  {place.key}\n  sites        {place.sites}\n  uploads      {place.uploads}")
        self._say("\nWhat to try next")
        if dump := next(place.storage.rglob("db/*.dump*"), None):
            self._say("  Open the dump without this software (with age and zstd installed):")
            self._say(f"    age -d -i {_quoted(place.key)} {_quoted(dump)} |")
            self._say(f"      zstd -d | {_quoted(bin_dir / 'pg_restore')} --list")
        self._say("  Look into the storage:  ls -lR " + _quoted(place.storage))
        again = f"{_quoted(_from_here(Path(sys.executable)))} {shlex.quote(sys.argv[0])} demo"
        self._say(f"  Run it all again:       {again}")
        self._say(f"  Other sizes:            {again} --rows 1000000 --files 20000")
        self._say("  In your own project:    see 'Tutorial' in the documentation")

    @contextmanager
    def _timed(self, title: str) -> Iterator[None]:
        self._say(f"\n{len(self.seconds) + 1}. {title}")
        begin = time.monotonic()
        yield
        self.seconds[title] = time.monotonic() - begin


def _files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def _first(lines: list[str], begin: str) -> str:
    """Return the first line that begins with ``begin``."""
    return next(line for line in lines if line.startswith(begin))


def _from_here(path: Path) -> Path:
    """Return ``path``, relative to the current folder if it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
