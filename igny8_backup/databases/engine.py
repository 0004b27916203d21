"""The interface of a database engine: all that the rest of the package knows about databases.

An :class:`Engine` stands for one alias of ``DATABASES``. :func:`igny8_backup.databases.registry.make_engine`
builds it. What only some engines can do is in ``capabilities``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from igny8_backup.conf import Problem
from igny8_backup.databases.capabilities import OptionalMethods
from igny8_backup.databases.values import WHOLE, Answers, RestoreSelection, Target, TargetState, Versions
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import DatabasePart
from igny8_backup.streams import Blocks


class Engine(OptionalMethods, ABC):
    """One database alias. Every method may raise :class:`~igny8_backup.errors.DatabaseError`.

    A "staging database" is one that a restore builds beside the live database. A "previous database" is what
    a swap has replaced. Both are called by the names that :meth:`derived_name` gives.
    """

    vendor: ClassVar[str]
    """The engine's name in manifests: ``postgresql`` or ``sqlite``, as Django's ``connection.vendor``."""
    dump_kind: ClassVar[str]
    """The kind of object that a dump is: see :func:`igny8_backup.formats.keys.database_key`."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    # Which database it is

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of the live database."""

    @property
    def where(self) -> str:
        """The address of the live database for people, without secrets."""
        return self.name

    def identity(self) -> str:
        """A string that is equal for aliases that lead to the same database, whatever they call its host."""
        return self.name

    # Back up

    def check(self, excluded: Sequence[str]) -> list[Problem]:
        """Return what would make the next backup fail; ``excluded`` as for :meth:`describe`.

        Raises ``RefusedError`` or ``ToolError`` for a server or client that backups refuse.
        """
        return []

    @abstractmethod
    def versions(self) -> Versions:
        """Return the versions of server and tool.

        Raises :class:`~igny8_backup.errors.RefusedError` if the tool must not dump this server.
        """

    @abstractmethod
    def describe(self, excluded: Sequence[str]) -> DatabaseDetails:
        """Return what a restore needs to know about the database.

        ``excluded`` are tables whose rows are left out of the dump; ``excluded_data`` of the result names
        them with their partitions. Raises ``RefusedError`` if a table is unknown, or if a foreign key of a
        table that is dumped with its rows points to it.
        """

    @abstractmethod
    def dump(
        self,
        details: DatabaseDetails,
        queries: Mapping[str, str] | None = None,
        on_answers: Callable[[Answers], None] | None = None,
    ) -> Blocks:
        """Yield the dump; the stream ends only when the dump is complete, else it raises.

        If the engine has probes, ``on_answers`` receives row counts and the results of ``queries``, read in
        the same snapshot as the dump. It may be called more than once; the last call counts.
        """

    def blocking_sessions(self) -> str:
        """Describe in a sentence who holds locks that the dump waits for; empty if unknown.

        May be called from any thread while the dump runs.
        """
        return ""

    # Prepare a restore

    @abstractmethod
    def target(self) -> Target:
        """Describe the live database, which need not exist."""

    @abstractmethod
    def blockers(self, part: DatabasePart, details: DatabaseDetails) -> list[str]:
        """Return why this backup cannot be restored here, one sentence each; empty if it can."""

    def target_state(self, part: DatabasePart, details: DatabaseDetails) -> TargetState:
        """Describe the server of the live database and who uses it."""
        return TargetState()

    @abstractmethod
    def derived_name(self, word: str, stamp: str) -> str:
        """Return the name of a database beside the live one.

        ``word`` is ``STAGING``, ``PREVIOUS`` or ``DRILL`` of :mod:`igny8_backup.databases.names`.
        """

    # Build a staging database

    @abstractmethod
    def create_staging(self, staging: str, details: DatabaseDetails) -> None:
        """Create the empty database ``staging`` with the recorded encoding and owner, closed to others."""

    @abstractmethod
    def load(
        self,
        staging: str,
        blocks: Blocks,
        *,
        raw_bytes: int,
        jobs: int,
        analyze: bool = True,
        selection: RestoreSelection = WHOLE,
    ) -> tuple[str, ...]:
        """Restore a dump of ``raw_bytes`` into ``staging``. Return descriptions of what was left out.

        ``jobs`` connections work at a time if scratch has space for the dump. ``analyze`` also collects the
        planner's statistics. Also raises ``ToolError``, ``FilesError`` and what ``blocks`` raises.
        """

    @abstractmethod
    def copy_settings(self, staging: str, details: DatabaseDetails) -> None:
        """Give ``staging`` the settings of the live database, or the recorded ones if there is none."""

    @abstractmethod
    def tables(self, name: str) -> tuple[str, ...]:
        """List the tables of the database ``name`` with their schemas, sorted."""

    def answers(self, name: str, details: DatabaseDetails, tables: Sequence[str] = ()) -> Answers:
        """Count rows and run probes in the database ``name``, as ``details`` record them.

        With ``tables``, only count the rows of these. An engine without probes returns no answers.
        """
        return Answers()

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether a database ``name`` exists."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Remove the database ``name`` if it exists.

        Raises ``RefusedError`` for a name that :meth:`derived_name` does not give, such as the live one.
        """

    # Swap

    @abstractmethod
    def swap(self, staging: str, previous: str, details: DatabaseDetails) -> None:
        """Rename the live database to ``previous`` and ``staging`` to the live name: both or neither.

        Raises ``UnfinishedError`` if the connection was lost and it is unknown whether the server did it.
        """

    @abstractmethod
    def swap_back(self, previous: str, replaced: str) -> None:
        """Undo a swap: rename the live database to ``replaced``, and ``previous``, if any, to the live name.

        Raises as :meth:`swap`.
        """
