"""What an engine must be able to do, whatever the database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from igny8_backup.databases.postgresql.probes import Answers
from igny8_backup.databases.postgresql.restore.target import TargetState
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import DatabasePart
from igny8_backup.streams import Blocks


@dataclass(frozen=True, kw_only=True)
class Versions:
    """The server's version and that of the program that dumps or restores, as people write them."""

    server: str
    tool: str


@dataclass(frozen=True, kw_only=True)
class PermissionGaps:
    """``tables`` (whole names) of which the ``role`` that backs up may not see every row, and what it may not
    read at all: ``table NAME``, ``sequence NAME``, ``schema NAME``."""

    role: str = ""
    tables: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Target:
    """What stands where a restore would put a database. ``where`` is for people; no secrets.

    ``tables`` is ``None`` where the database is there but cannot be read: damaged ones are restored too.
    ``size`` is in bytes.
    """

    name: str
    where: str
    exists: bool
    tables: int | None = 0
    size: int = 0

    @property
    def empty(self) -> bool:
        """Whether nothing would be lost."""
        return self.tables == 0


@dataclass(frozen=True, kw_only=True)
class RestoreSelection:
    """What of a dump to load. ``owners``: things belong to whom they did, who may do with them what they
    could; without, all is the loading role's. ``tables`` are whole names of single tables; none means all."""

    owners: bool = True
    tables: tuple[str, ...] = ()
    table_owners: tuple[str, ...] = ()


WHOLE = RestoreSelection()


class Engine(ABC):
    """One database alias. Every method may raise :class:`~igny8_backup.errors.DatabaseError`."""

    engine: ClassVar[str]
    """How the manifest calls the engine."""
    dump_kind: ClassVar[str]
    """The kind of object a dump is: see :func:`igny8_backup.formats.keys.database_key`."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    # Backing up

    @abstractmethod
    def versions(self) -> Versions:
        """Raises :class:`~igny8_backup.errors.RefusedError` where the client must not dump this server."""

    def hidden(self, excluded: Sequence[str]) -> PermissionGaps:
        """What the role may not see or read, so that a dump fails; ``excluded`` as for ``describe``."""
        return PermissionGaps()

    @abstractmethod
    def describe(self, excluded: Sequence[str]) -> DatabaseDetails:
        """What a restore will need to know.

        Raises ``RefusedError`` when ``excluded`` (tables whose rows stay out) names an unknown table or one
        that a kept foreign key points to. The details name all tables that are excluded in the end.
        """

    @abstractmethod
    def dump(
        self,
        details: DatabaseDetails,
        queries: Mapping[str, str] | None = None,
        on_answers: Callable[[Answers], None] | None = None,
    ) -> Blocks:
        """The dump; it ends only when the dump is whole.

        Where the engine can, ``on_answers`` hears what the probes ``queries`` answer and how many rows the
        tables have in the very instant that the dump shows; of several times the last counts.
        """

    def answers(self, name: str, details: DatabaseDetails, tables: Sequence[str] = ()) -> Answers:
        """What the database called ``name`` on the restore side answers to what ``details`` has answers to;
        of ``tables`` alone their rows. An engine without probes has no answers."""
        return Answers()

    def blocking_sessions(self) -> str:
        """What keeps a dump waiting in the server, a sentence; empty where nothing is known. Any thread."""
        return ""

    @abstractmethod
    def tables(self, name: str) -> tuple[str, ...]:
        """The tables of the database called ``name`` on the restore side, sorted, with their schemas."""

    # Restoring

    @abstractmethod
    def place(self) -> str:
        """Which database the alias leads to, whatever name its host goes by today: equal for the same one."""

    @abstractmethod
    def target(self) -> Target:
        """What stands there now."""

    @abstractmethod
    def blockers(self, part: DatabasePart, details: DatabaseDetails) -> list[str]:
        """Why this backup cannot be restored here, one sentence each; empty when it can."""

    def target_state(self, part: DatabasePart, details: DatabaseDetails) -> TargetState:
        """What stands round it, for people to read before they agree."""
        return TargetState()

    @abstractmethod
    def previous_name(self, word: str, stamp: str) -> str:
        """The name of a database beside the live one: ``word`` is ``side`` or ``before``."""

    @abstractmethod
    def create_staging(self, side: str, details: DatabaseDetails) -> None:
        """Makes the empty database ``side`` as recorded, open to nobody else."""

    @abstractmethod
    def load(
        self,
        side: str,
        blocks: Blocks,
        *,
        raw_bytes: int,
        scratch: Path,
        jobs: int,
        analyze: bool = True,
        wanted: RestoreSelection = WHOLE,
    ) -> tuple[str, ...]:
        """Restores a dump of ``raw_bytes`` into ``side``, with ``jobs`` at a time where ``scratch`` (a
        private folder) has room for the dump; ``analyze`` makes the planner's statistics as well.
        Returns what of it was left out, in words.

        Raises also ``ToolError``, ``FilesError`` and what ``blocks`` raises.
        """

    @abstractmethod
    def seal_staging(self, side: str, details: DatabaseDetails) -> None:
        """Gives ``side`` what no rename brings: the settings of the live database, else the recorded."""

    @abstractmethod
    def swap(self, side: str, before: str, details: DatabaseDetails) -> None:
        """``side`` becomes the live database and the live one ``before``: at one instant, or not at all.

        Raises ``UnfinishedError`` where the server fell silent so that nobody knows which of the two.
        """

    @abstractmethod
    def swap_back(self, before: str, aside: str) -> None:
        """Undoes a swap: the live database becomes ``aside``, and ``before``, if there, the live one."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is a database called ``name``."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Removes the database called ``name``; never the live one. A missing one is fine."""
