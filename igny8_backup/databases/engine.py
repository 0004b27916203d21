"""The interface of a database engine, through which the rest of the package uses databases.

An :class:`Engine` represents one alias of ``DATABASES``;
:func:`igny8_backup.databases.registry.make_engine` builds it. Optional methods are in ``capabilities``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from igny8_backup.conf import Problem
from igny8_backup.databases.capabilities import OptionalMethods
from igny8_backup.databases.values import (
    WHOLE,
    Answers,
    RestoreSelection,
    Target,
    TargetState,
    Versions,
)
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.streams import Blocks

Queries = Mapping[str, str]
"""The name and the SQL of each probe: a query whose result is compared after a restore."""

OnAnswers = Callable[[Answers], None]
"""A function that receives the tables, row counts and probe results read in the snapshot of a dump."""


class Engine(OptionalMethods, ABC):
    """One alias of ``DATABASES``. Every method may raise :class:`~igny8_backup.errors.DatabaseError`.

    The "live database" is the one that the application uses. A restore loads a dump into a "staging
    database" on the same server. A swap renames the live database, which becomes the "previous database".
    :meth:`derived_name` returns the names of staging and previous databases.
    """

    vendor: ClassVar[str]
    """Django's ``connection.vendor``, which manifests record: ``postgresql`` or ``sqlite``."""
    dump_kind: ClassVar[str]
    """The kind of a dump in storage keys: see :func:`igny8_backup.formats.keys.database_key`."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    # Identify the database

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of the live database."""

    @property
    def where(self) -> str:
        """The address of the live database for messages, without secrets."""
        return self.name

    def identity(self) -> str:
        """Return a string that identifies the database.

        It is equal for two aliases that lead to the same database by different host names.
        """
        return self.name

    # Back up

    def check(self, excluded: Sequence[str], *, yielding: bool = False, jobs: int = 1) -> list[Problem]:
        """Return the problems that would make the next backup, or every restore on this server, fail.

        ``excluded`` are the tables whose rows will be left out of the dump. ``yielding``: the backup needs
        one more session, for ``waiting_sessions``. ``jobs`` connections are to dump the database at the same
        time. Raises ``RefusedError`` or ``ToolError`` if the server or the client program is unsuitable.
        """
        return []

    @abstractmethod
    def versions(self) -> Versions:
        """Return the versions of the server and of the program that dumps it.

        Raises :class:`~igny8_backup.errors.RefusedError` if that program is too old for the server.
        """

    @abstractmethod
    def describe(self, excluded: Sequence[str]) -> DatabaseDetails:
        """Return the properties of the database that a restore needs.

        ``excluded`` are the tables whose rows will be left out of the dump; ``excluded_data`` of the result
        contains these tables and their partitions. Raises ``RefusedError`` if a table does not exist, or if a
        table that is dumped with its rows has a foreign key to an excluded table.
        """

    @abstractmethod
    def dump(
        self, details: DatabaseDetails, queries: Queries | None = None, on_answers: OnAnswers | None = None
    ) -> Blocks:
        """Yield the dump of the database that ``details`` describe. An incomplete dump raises an error.

        ``on_answers`` is called with the tables, the row counts and the results of the probes ``queries``,
        read in the snapshot of the dump. If the dump starts over, it is called again, and the answers of the
        last call replace the earlier ones. An engine that cannot run probes reports only the tables.
        """

    def blocking_sessions(self) -> str:
        """Describe in one sentence which sessions block the dump; empty if none is known.

        It is safe to call this from any thread during :meth:`dump`.
        """
        return ""

    # Prepare a restore

    @abstractmethod
    def target(self, name: str = "") -> Target:
        """Describe the live database, which a restore would replace. It need not exist.

        With ``name``, describes that database of the same server instead.
        """

    @abstractmethod
    def blockers(self, part: DatabasePart, details: DatabaseDetails) -> list[str]:
        """Return the reasons why a dump cannot be restored and swapped with the live database.

        Each reason is one sentence. ``part`` is the entry of the dump in the manifest, ``details`` are the
        recorded properties of the database.
        """

    def plan_notes(self, details: DatabaseDetails) -> list[str]:
        """Return sentences about effects of a restore of ``details`` that may surprise an operator.

        They are shown in the plan of the restore and do not prevent it.
        """
        return []

    def target_state(self, part: DatabasePart, details: DatabaseDetails) -> TargetState:
        """Describe the server, and the sessions and replication that use the live database."""
        return TargetState()

    @abstractmethod
    def derived_name(self, word: str, stamp: str) -> str:
        """Return the name for a staging, previous or drill (test restore) database of the live database.

        ``word`` is ``STAGING``, ``PREVIOUS`` or ``DRILL`` of :mod:`igny8_backup.databases.names`; ``stamp``
        is a time such as ``20261122T021500Z``.
        """

    # Build a staging database

    @abstractmethod
    def create_staging(self, staging: str, details: DatabaseDetails) -> None:
        """Create the empty database ``staging`` with the encoding and owner that ``details`` record.

        Only its owner and the role of the restore may connect to ``staging``. If ``staging`` is the name of a
        drill database, only the role of the drill may connect.
        """

    @abstractmethod
    def load(
        self, staging: str, blocks: Blocks, *, jobs: int, selection: RestoreSelection = WHOLE
    ) -> tuple[str, ...]:
        """Restore the dump ``blocks`` into the database ``staging``.

        ``selection`` is the part of the dump to restore. At most ``jobs`` connections work at the same time.
        Returns a label for each object that was left out. Also raises ``ToolError``, ``FilesError`` and the
        exceptions of ``blocks``.
        """

    def choose_jobs(self, name: str, wanted: int | None, size: int) -> int:
        """Return how many connections to the database ``name`` should restore a dump at the same time.

        If ``name`` is empty: how many should dump the live database. ``wanted`` is the setting; ``None``
        leaves the choice to the engine. ``size`` is the size of the database in bytes.
        """
        return 1

    def analyze(self, name: str, jobs: int = 1) -> dict[str, str]:
        """Collect the planner's statistics in the database ``name``, if the engine has such statistics.

        At most ``jobs`` connections work at the same time. Foreign tables are not touched. Returns the tables
        that could not be analyzed, each with the reason.
        """
        return {}

    def restore_schemas(self, name: str, details: DatabaseDetails) -> None:
        """Set the owners and privileges of schemas in the restored database ``name`` to those in ``details``.

        A schema ``public`` that the backup did not have is dropped if it is empty. Owners and privileges that
        the role of the restore cannot change stay as they are; the caller finds them by comparing
        :meth:`answers` with ``details``.
        """
        return

    @abstractmethod
    def copy_settings(self, staging: str, details: DatabaseDetails) -> None:
        """Apply to ``staging`` the settings of the live database, as ALTER DATABASE ... SET does.

        If there is no live database, the settings recorded in ``details`` are applied.
        """

    def copy_labels(self, staging: str, details: DatabaseDetails) -> None:
        """Apply the security labels of the live database to ``staging``.

        If there is no live database, the labels recorded in ``details`` are applied.
        """
        return

    @abstractmethod
    def tables(self, name: str) -> tuple[str, ...]:
        """List the tables of the database ``name`` as ``schema.table`` (SQLite: ``table``), sorted."""

    def answers(self, name: str, details: DatabaseDetails, tables: Sequence[str] = ()) -> Answers:
        """Count rows in the database ``name`` and run the probes recorded in ``details``.

        The caller compares the result with ``details``. With ``tables``, only the rows of these tables are
        counted and no probes are run. Without ``tables``, the answers also contain the schemas and the access
        (owners and privileges of objects) if ``details`` contain them. An engine without probes returns empty
        answers.
        """
        return Answers()

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Return whether a database ``name`` exists on the server."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Drop the staging, previous or drill database ``name`` if it exists.

        Raises ``RefusedError`` for any other name, such as that of the live database.
        """

    # Swap

    @abstractmethod
    def swap(self, staging: str, previous: str, details: DatabaseDetails) -> None:
        """Rename the live database to ``previous`` and ``staging`` to the live name, in one transaction.

        Raises ``UnfinishedError`` if the connection was lost and it is unknown whether the server committed.
        """

    @abstractmethod
    def swap_back(self, previous: str, replaced: str, *, existed: bool = True) -> None:
        """Undo a swap: rename the live database to ``replaced`` and ``previous`` to the live name.

        With ``existed`` false there is no previous database, and no database has the live name afterwards.
        Does nothing if the databases were swapped back already. Raises the same errors as :meth:`swap`.
        """
