"""SQLite, for development only (law 10): the online backup API, then the same pipeline.

The backup API needs a file to write to: one in private scratch, whose name is gone before anything is in it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from django.db import connections

from igny8_backup.databases.engine import Engine
from igny8_backup.databases.names import derived_name, is_derived_name
from igny8_backup.databases.values import WHOLE, Answers, RestoreSelection, Target, Versions
from igny8_backup.errors import DatabaseError, FilesError, RefusedError
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import DatabasePart
from igny8_backup.streams import Blocks
from igny8_backup.streams.pipeline import from_file, write_file

_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
_MIGRATIONS = "SELECT app, name FROM django_migrations ORDER BY id"
_BESIDE = ("-wal", "-shm", "-journal")


class SqliteEngine(Engine):
    """One SQLite file. Names of databases are paths here."""

    vendor = "sqlite"
    display_name = "SQLite"
    dump_kind = "sqlite3"

    def __init__(self, alias: str, *, scratch: Path) -> None:
        """Raises :class:`RefusedError` for a database that is no file of its own."""
        super().__init__(alias)
        name = str(connections[alias].settings_dict["NAME"])
        if not name or name == ":memory:" or name.startswith("file:"):
            raise RefusedError(
                f"The SQLite database {alias!r} lives in memory or behind a URI.",
                unchanged="Nothing was read or written.",
                hint=f"Give DATABASES[{alias!r}]['NAME'] the path of a file.",
            )
        self._path = Path(name).resolve()
        self._scratch = scratch

    @property
    def name(self) -> str:
        return str(self._path)

    @property
    def where(self) -> str:
        return str(self._path)

    def identity(self) -> str:
        return str(self._path)

    def versions(self) -> Versions:
        return Versions(server=sqlite3.sqlite_version, tool=sqlite3.sqlite_version)

    def describe(self, excluded: Sequence[str]) -> DatabaseDetails:
        if excluded:
            raise RefusedError(
                "EXCLUDE_TABLE_DATA does not work with SQLite.",
                unchanged="Nothing was dumped.",
                hint=f"Remove {self.alias!r} from IGNY8_BACKUP['EXCLUDE_TABLE_DATA'].",
            )
        if not self._path.is_file():
            raise DatabaseError(
                f"There is no database file {self._path}.", hint="Run: python manage.py migrate."
            )
        tables = self.tables(str(self._path))
        with _session(self._path) as session:
            rows = session.execute(_MIGRATIONS).fetchall() if "django_migrations" in tables else []
        return DatabaseDetails(
            alias=self.alias,
            name=str(self._path),
            tables=tables,
            migrations=dict(rows),
            size=self._path.stat().st_size,
        )

    def dump(
        self,
        details: DatabaseDetails,
        queries: Mapping[str, str] | None = None,
        on_answers: Callable[[Answers], None] | None = None,
    ) -> Blocks:
        with _files(self._path), self._copy() as handle:
            yield from from_file(handle)

    @contextmanager
    def _copy(self) -> Iterator[int]:
        """A consistent copy, as a descriptor at its start; the file has no name when the copy begins."""
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._scratch / f"igny8_backup-{os.getpid()}-{self.alias}.sqlite3"
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                copy = sqlite3.connect(path)
            finally:
                path.unlink()
            with closing(copy), _session(self._path) as session:
                # A journal would have a name again, and a failed copy is thrown away as a whole.
                copy.execute("PRAGMA journal_mode = OFF")
                # The lock is taken first: backup() would wait for it for ever.
                session.execute("BEGIN")
                session.execute(_TABLES).fetchall()
                session.backup(copy)
            yield handle
        finally:
            os.close(handle)

    def tables(self, name: str) -> tuple[str, ...]:
        with _session(Path(name)) as session:
            return tuple(row[0] for row in session.execute(_TABLES))

    def target(self) -> Target:
        name = str(self._path)
        if not self._path.is_file():
            return Target(name=name, where=name, exists=False)
        try:
            tables = len(self.tables(name))
        except DatabaseError:
            tables = None
        return Target(name=name, where=name, exists=True, tables=tables, size=self._path.stat().st_size)

    def blockers(self, part: DatabasePart, details: DatabaseDetails) -> list[str]:
        if self._path.parent.is_dir() and os.access(self._path.parent, os.W_OK):
            return []
        return [f"The folder {self._path.parent} cannot be written."]

    def derived_name(self, word: str, stamp: str) -> str:
        return str(self._path.with_name(derived_name(self._path.name, word, stamp)))

    def create_staging(self, side: str, details: DatabaseDetails) -> None:
        with _files(self._path):
            os.close(os.open(side, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

    def load(
        self,
        side: str,
        blocks: Blocks,
        *,
        raw_bytes: int,
        scratch: Path,
        jobs: int,
        analyze: bool = True,
        selection: RestoreSelection = WHOLE,
    ) -> tuple[str, ...]:
        with closing(blocks), _files(self._path), open(side, "wb") as file:
            write_file(blocks, file.fileno(), fsync=True)
        with _session(Path(side)) as session:
            (answer,) = session.execute("PRAGMA integrity_check").fetchone()
        if answer != "ok":
            raise DatabaseError(
                f"The restored SQLite file is damaged: {answer}.",
                unchanged=f"{self._path} is as it was.",
                hint="Choose another backup: list_backups.",
            )
        return ()

    def copy_settings(self, side: str, details: DatabaseDetails) -> None:
        with _files(self._path):
            if self._path.exists():
                os.chmod(side, self._path.stat().st_mode & 0o777)

    def swap(self, side: str, before: str, details: DatabaseDetails) -> None:
        """Each step may have been done by an interrupted try."""
        self._settle(self._path)
        self._settle(Path(side))
        with _files(self._path):
            if self._path.exists() and not os.path.exists(before):
                os.link(self._path, before)
            os.replace(side, self._path)

    def swap_back(self, before: str, aside: str) -> None:
        """``aside`` appears last: where it is, all is done. Each step may have been done before."""
        parked = Path(aside + ".parked")
        self._settle(self._path)
        self._settle(Path(before))
        with _files(self._path):
            if os.path.exists(before):
                if self._path.exists():
                    parked.unlink(missing_ok=True)  # a second name of the live file, from an earlier try
                    os.link(self._path, parked)
                os.replace(before, self._path)
            elif self._path.exists() and not parked.exists():
                os.replace(self._path, parked)
            if parked.exists():
                os.replace(parked, aside)

    def exists(self, name: str) -> bool:
        return os.path.exists(name)

    def drop(self, name: str) -> None:
        path = Path(name)
        if path.parent != self._path.parent or not is_derived_name(path.name, self._path.name):
            raise RefusedError(
                f"{name!r} is not a file that a restore made.", unchanged="It was not removed."
            )
        with _files(self._path):
            for suffix in ("", ".parked", *_BESIDE):
                Path(name + suffix).unlink(missing_ok=True)

    def _settle(self, path: Path) -> None:
        """Leaves the file alone in its folder: a log left behind would be applied to the next file.

        The last session to leave a database removes its log; one that is still there belongs to somebody.
        """
        if not path.exists():
            return
        connections[self.alias].close()
        with _session(path) as session:
            session.execute(_TABLES)  # an interrupted transaction is rolled back by the first to read
            session.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            session.execute("BEGIN EXCLUSIVE")
            session.execute("ROLLBACK")
        if any(os.path.exists(f"{path}{suffix}") for suffix in _BESIDE):
            raise DatabaseError(
                f"{path} is in use.",
                unchanged="Nothing was replaced.",
                hint="Stop the development server and shells, then run it again.",
            )


@contextmanager
def _session(path: Path) -> Iterator[sqlite3.Connection]:
    """A session on an existing file, in autocommit mode. Raises :class:`DatabaseError`, also for what SQLite
    raises inside the ``with``; a locked database is waited for, five seconds."""
    try:
        session = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
        with closing(session):
            yield session
    except sqlite3.Error as error:
        hint = ""
        if "locked" in str(error):
            hint = "Stop the development server and shells, then run it again."
        raise DatabaseError(f"The SQLite database {path} cannot be used: {error}.", hint=hint) from None


@contextmanager
def _files(path: Path) -> Iterator[None]:
    """Turns an ``OSError`` into :class:`FilesError`."""
    try:
        yield
    except OSError as error:
        raise FilesError(f"{path} and the files beside it cannot be handled: {error.strerror}.") from None
