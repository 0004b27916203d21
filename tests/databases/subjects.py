"""A database of each engine with the same interface, for the tests of the contract."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path

from igny8_backup.databases.engine import Engine
from igny8_backup.databases.sqlite import SqliteEngine
from tests.databases.stage import STAMP, Stage


class Subject(ABC):
    """A live database, its engine, and methods to query and change it."""

    engine: Engine
    scratch: Path

    @abstractmethod
    def create(self) -> None: ...

    @abstractmethod
    def lose(self) -> None:
        """Remove the live database."""

    @abstractmethod
    def run(self, query: str, name: str = "") -> list[tuple[object, ...]]: ...

    @abstractmethod
    def foreign(self) -> str:
        """Create a database that belongs to another live name; return its name."""

    def names(self, name: str = "") -> list[object]:
        return [found for (found,) in self.run("SELECT name FROM item ORDER BY name", name)]


class PostgresqlSubject(Subject):
    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.scratch = stage.scratch
        self.engine = stage.engine

    def create(self) -> None:
        self.stage.create("SELECT 1")

    def lose(self) -> None:
        self.stage.server.drop_database(self.stage.name)

    def run(self, query: str, name: str = "") -> list[tuple[object, ...]]:
        return self.stage.sql(query, database=name)

    def foreign(self) -> str:
        name = f"{self.stage.name}_other__side_{STAMP}"
        self.stage.server.create_database(name)
        return name


class SqliteSubject(Subject):
    def __init__(self, folder: Path) -> None:
        self.path = folder / "db.sqlite3"
        self.scratch = folder / "scratch"
        self.engine = SqliteEngine("contract", scratch=self.scratch)

    def create(self) -> None:
        self.run("CREATE TABLE emptied (id integer)")
        self.run("DROP TABLE emptied")

    def lose(self) -> None:
        self.path.unlink()

    def run(self, query: str, name: str = "") -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(name or self.path)) as session, session:
            return session.execute(query).fetchall()

    def foreign(self) -> str:
        path = self.path.with_name(f"other__side_{STAMP}")
        path.touch()
        return str(path)
