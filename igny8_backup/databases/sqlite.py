"""SQLite, for development only (law 10): the online backup API, then the same pipeline.

The copy is made in private scratch without a name, because the backup API needs a file to write to.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from django.db import connections

from igny8_backup.databases.base import Engine, Target, Versions
from igny8_backup.errors import DatabaseError, RefusedError
from igny8_backup.manifest import DatabaseDetails, DatabasePart
from igny8_backup.streams import BLOCK, Blocks

_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"


class SqliteEngine(Engine):
    """One SQLite file. Names of databases are paths here."""

    engine = "sqlite"
    dump_kind = "sqlite3"

    def __init__(self, alias: str, *, scratch: Path) -> None:
        super().__init__(alias)
        self._path = Path(str(connections[alias].settings_dict["NAME"]))
        self._scratch = scratch
        if str(self._path) == ":memory:" or str(self._path).startswith("file:"):
            raise RefusedError(
                f"The database {alias!r} lives in memory.",
                untouched="Nothing was read or written.",
                fix=f"Give DATABASES[{alias!r}]['NAME'] a file.",
            )

    def versions(self) -> Versions:
        return Versions(server=sqlite3.sqlite_version, tool=sqlite3.sqlite_version)

    def describe(self, excluded: Sequence[str]) -> DatabaseDetails:
        if excluded:
            raise RefusedError(
                "EXCLUDE_TABLE_DATA does not work with SQLite.",
                untouched="Nothing was dumped.",
                fix=f"Remove {self.alias!r} from IGNY8_BACKUP['EXCLUDE_TABLE_DATA'].",
            )
        if not self._path.is_file():
            raise DatabaseError(
                f"There is no database file {self._path}.", fix="Run: python manage.py migrate."
            )
        with closing(_open(self._path)) as session:
            tables = tuple(row[0] for row in session.execute(_TABLES))
            migrations = {}
            if "django_migrations" in tables:
                query = "SELECT app, name FROM django_migrations ORDER BY id"
                migrations = dict(session.execute(query).fetchall())
        return DatabaseDetails(
            alias=self.alias,
            name=str(self._path),
            tables=tables,
            migrations=migrations,
            size=self._path.stat().st_size,
        )

    def dump(self, details: DatabaseDetails) -> Blocks:
        with tempfile.NamedTemporaryFile(dir=self._scratch, prefix="igny8_backup-") as file:
            with closing(_open(self._path)) as source, closing(sqlite3.connect(file.name)) as copy:
                source.backup(copy)
            with open(file.name, "rb") as reader:
                while block := reader.read(BLOCK):
                    yield block

    def tables(self, name: str) -> tuple[str, ...]:
        with closing(_open(Path(name))) as session:
            return tuple(row[0] for row in session.execute(_TABLES))

    def target(self) -> Target:
        if not self._path.is_file():
            return Target(name=str(self._path), where=str(self._path), exists=False)
        return Target(
            name=str(self._path),
            where=str(self._path),
            exists=True,
            tables=len(self.tables(str(self._path))),
            size=self._path.stat().st_size,
        )

    def obstacles(self, part: DatabasePart, details: DatabaseDetails) -> list[str]:
        if self._path.parent.is_dir() and os.access(self._path.parent, os.W_OK):
            return []
        return [f"The folder {self._path.parent} cannot be written."]

    def aside_name(self, word: str, stamp: str) -> str:
        return f"{self._path}__{word}_{stamp}"

    def create_side(self, side: str, details: DatabaseDetails) -> None:
        os.close(os.open(side, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

    def load(self, side: str, blocks: Blocks, *, raw_bytes: int, scratch: Path, jobs: int) -> None:
        with closing(blocks), open(side, "wb") as file:
            for block in blocks:
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        with closing(_open(Path(side))) as session:
            (answer,) = session.execute("PRAGMA integrity_check").fetchone()
        if answer != "ok":
            raise DatabaseError(f"The restored SQLite file is damaged: {answer}.")

    def seal_side(self, side: str, details: DatabaseDetails) -> None:
        if self._path.exists():
            os.chmod(side, self._path.stat().st_mode & 0o777)

    def swap(self, side: str, before: str, details: DatabaseDetails) -> None:
        self._checkpoint()
        if self._path.exists():
            os.link(self._path, before)
        os.replace(side, self._path)

    def swap_back(self, before: str, aside: str) -> None:
        self._checkpoint()
        if self._path.exists():
            os.link(self._path, aside)
        if Path(before).exists():
            os.replace(before, self._path)
        else:
            self._path.unlink(missing_ok=True)

    def exists(self, name: str) -> bool:
        return Path(name).exists()

    def drop(self, name: str) -> None:
        if not (name.startswith(f"{self._path}__side_") or name.startswith(f"{self._path}__before_")):
            raise RefusedError(
                f"{name!r} is not a file that a restore made.", untouched="It was not removed."
            )
        for path in (name, f"{name}-wal", f"{name}-shm", f"{name}-journal"):
            Path(path).unlink(missing_ok=True)

    def _checkpoint(self) -> None:
        """Brings a write-ahead log into the file: a log left behind would be applied to the next file."""
        if not self._path.exists():
            return
        connections[self.alias].close()
        with closing(_open(self._path)) as session:
            mode = session.execute("PRAGMA journal_mode").fetchone()
            if mode == ("wal",):
                session.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for suffix in ("-wal", "-shm"):
            log = Path(f"{self._path}{suffix}")
            if log.exists() and log.stat().st_size:
                raise DatabaseError(
                    f"{self._path} is in use.",
                    untouched="Nothing was replaced.",
                    fix="Stop the development server and shells, then run it again.",
                )
            log.unlink(missing_ok=True)


def _open(path: Path) -> sqlite3.Connection:
    try:
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)
    except sqlite3.Error as error:
        raise DatabaseError(f"{path} cannot be opened: {error}.") from None
