"""The SQLite engine, for development only: ``registry.guard_sqlite`` refuses SQLite without DEBUG.

A dump is a copy of the file, made in the scratch folder by SQLite's online backup API. The name of a database
is the path of its file.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from django.db import connections

from igny8_backup.common.filesystem import sync
from igny8_backup.databases.engine import Engine, OnAnswers, Queries
from igny8_backup.databases.names import derived_name, is_derived_name
from igny8_backup.databases.values import WHOLE, Answers, RestoreSelection, Target, Versions
from igny8_backup.errors import DatabaseError, FilesError, RefusedError
from igny8_backup.formats.details import DatabaseDetails, by_app
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.streams import Blocks
from igny8_backup.streams.pipeline import from_file, write_file

_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
_MIGRATIONS = "SELECT app, name FROM django_migrations ORDER BY id"
_CLOSE = "Stop the development server and shells, then run again."
_SUFFIXES = ("-wal", "-shm", "-journal")


class SqliteEngine(Engine):
    """The engine of an alias whose database is an SQLite file."""

    vendor = "sqlite"
    display_name = "SQLite"
    dump_kind = "sqlite3"

    def __init__(self, alias: str, *, scratch: Path) -> None:
        """Write temporary copies in ``scratch``. Raises ``RefusedError`` unless NAME is a file path."""
        super().__init__(alias)
        name = str(connections[alias].settings_dict["NAME"])
        if not name or name == ":memory:" or name.startswith("file:"):
            raise RefusedError(
                f"The SQLite database {alias!r} is in memory or has a URI.",
                unchanged="Nothing was read or written.",
                hint=f"Set DATABASES[{alias!r}]['NAME'] to the path of a file.",
            )
        self._path = Path(name).resolve()
        self._scratch = scratch

    @property
    def name(self) -> str:
        return str(self._path)

    def versions(self) -> Versions:
        return Versions(server=sqlite3.sqlite_version, tool=sqlite3.sqlite_version)

    def describe(self, excluded: Sequence[str]) -> DatabaseDetails:
        if excluded:
            raise RefusedError(
                "EXCLUDE_TABLE_DATA is not supported for SQLite.",
                unchanged="Nothing was dumped.",
                hint=f"Remove {self.alias!r} from IGNY8_BACKUP['EXCLUDE_TABLE_DATA'].",
            )
        if not self._path.is_file():
            raise DatabaseError(
                f"The database file {self._path} does not exist.",
                unchanged="Nothing was dumped.",
                hint=f"Check DATABASES[{self.alias!r}]['NAME']."
                " To create the database: python manage.py migrate.",
            )
        tables = self.tables(self.name)
        with _session(self._path) as session:
            rows = session.execute(_MIGRATIONS).fetchall() if "django_migrations" in tables else []
        return DatabaseDetails(
            alias=self.alias,
            name=self.name,
            tables=tables,
            migrations=dict(rows),
            applied_migrations=by_app(rows),
            size=self._path.stat().st_size,
        )

    def dump(
        self, details: DatabaseDetails, queries: Queries | None = None, on_answers: OnAnswers | None = None
    ) -> Blocks:
        with _files(self._path), self._copy() as (handle, tables):
            if on_answers:
                on_answers(Answers(tables=tables))
            yield from from_file(handle)

    @contextmanager
    def _copy(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Yield the descriptor of a consistent copy of the database file, and the names of the tables.

        The file is unlinked before the copy begins, so that a crash leaves no copy.
        """
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
                # A journal would be a named file, and a failed copy needs no journal because it is discarded.
                copy.execute("PRAGMA journal_mode = OFF")
                # Take the lock with a query, which has a time limit: backup() would wait for it forever.
                session.execute("BEGIN")
                tables = tuple(name for (name,) in session.execute(_TABLES))
                session.backup(copy)
            yield handle, tables
        finally:
            os.close(handle)

    def tables(self, name: str) -> tuple[str, ...]:
        with _session(Path(name)) as session:
            return tuple(row[0] for row in session.execute(_TABLES))

    def target(self, name: str = "") -> Target:
        path = Path(name) if name else self._path
        if not path.is_file():
            return Target(name=str(path), where=str(path), exists=False)
        try:
            tables = len(self.tables(str(path)))
        except DatabaseError:
            tables = None
        size = path.stat().st_size
        return Target(name=str(path), where=str(path), exists=True, tables=tables, size=size)

    def blockers(self, part: DatabasePart, details: DatabaseDetails) -> list[str]:
        if self._path.parent.is_dir() and os.access(self._path.parent, os.W_OK):
            return []
        return [f"The folder {self._path.parent} cannot be written: make it writable for this user."]

    def derived_name(self, word: str, stamp: str) -> str:
        return str(self._path.with_name(derived_name(self._path.name, word, stamp)))

    def create_staging(self, staging: str, details: DatabaseDetails) -> None:
        with _files(self._path):
            os.close(os.open(staging, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

    def load(
        self, staging: str, blocks: Blocks, *, jobs: int, selection: RestoreSelection = WHOLE
    ) -> tuple[str, ...]:
        with closing(blocks), _files(self._path), open(staging, "wb") as file:
            write_file(blocks, file.fileno(), name=f"the database to {staging}")
            sync(file.fileno())
        with _session(Path(staging)) as session:
            (answer,) = session.execute("PRAGMA integrity_check").fetchone()
        if answer != "ok":
            raise DatabaseError(
                f"The restored SQLite file is damaged: {answer}.",
                unchanged=f"{self._path} was not changed.",
                hint="Choose another backup: list_backups.",
            )
        return ()

    def copy_settings(self, staging: str, details: DatabaseDetails) -> None:
        with _files(self._path):
            if self._path.exists():
                os.chmod(staging, self._path.stat().st_mode & 0o777)

    def swap(self, staging: str, previous: str, details: DatabaseDetails) -> None:
        # Each step may have been done by an earlier attempt that was interrupted.
        self._close_files(self._path)
        self._close_files(Path(staging))
        with _files(self._path):
            if self._path.exists() and not os.path.exists(previous):
                os.link(self._path, previous)
            os.replace(staging, self._path)

    def swap_back(self, previous: str, replaced: str, *, existed: bool = True) -> None:
        # Each step may have been done by an interrupted attempt. The last step creates ``replaced``.
        parked = Path(replaced + ".parked")
        self._close_files(self._path)
        self._close_files(Path(previous))
        with _files(self._path):
            if os.path.exists(previous):
                if self._path.exists():
                    parked.unlink(missing_ok=True)  # a second link to the live file, from an earlier attempt
                    os.link(self._path, parked)
                os.replace(previous, self._path)
            elif not existed and self._path.exists() and not parked.exists():
                os.replace(self._path, parked)
            if parked.exists():
                os.replace(parked, replaced)

    def exists(self, name: str) -> bool:
        return os.path.exists(name)

    def drop(self, name: str) -> None:
        path = Path(name)
        if path.parent != self._path.parent or not is_derived_name(path.name, self._path.name):
            raise RefusedError(
                f"{name!r} is not a file that a restore created.",
                unchanged="It was not removed.",
                hint="If it is not needed, remove it by hand.",
            )
        with _files(self._path):
            for suffix in ("", ".parked", *_SUFFIXES):
                Path(name + suffix).unlink(missing_ok=True)

    def _close_files(self, path: Path) -> None:
        """Make SQLite remove the log files of the database ``path``: they would corrupt its replacement.

        SQLite removes them when the last session ends. Raises :class:`DatabaseError` if another process has
        the database open.
        """
        if not path.exists():
            return
        connections[self.alias].close()
        with _session(path) as session:
            session.execute(_TABLES)  # the first query rolls back an interrupted transaction
            session.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            session.execute("BEGIN EXCLUSIVE")
            session.execute("ROLLBACK")
        if any(os.path.exists(f"{path}{suffix}") for suffix in _SUFFIXES):
            what = f"{path} is in use by another process."
            raise DatabaseError(what, unchanged="Nothing was replaced.", hint=_CLOSE)


@contextmanager
def _session(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a session in autocommit mode; SQLite's errors in the ``with`` block become ``DatabaseError``."""
    try:
        session = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
        with closing(session):
            yield session
    except sqlite3.Error as error:
        locked = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
        hint = _CLOSE if locked else "Check that it is an SQLite database of this user."
        raise DatabaseError(f"The SQLite database {path} cannot be used: {error}.", hint=hint) from None


@contextmanager
def _files(path: Path) -> Iterator[None]:
    """Replace an ``OSError`` in the ``with`` block by a :class:`FilesError` that names ``path``."""
    try:
        yield
    except OSError as error:
        raise FilesError(
            f"{path} or another file in its folder cannot be used: {error.strerror}.",
            hint=f"Check the permissions and the free space of {path.parent}.",
        ) from None
