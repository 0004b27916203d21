"""Arguments and results of the methods of engines.

The classes are frozen and import no database driver, so that plans and JSON output can contain them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from igny8_backup.formats.details import Probe

COUNTED_TO = 1_000_000
"""Counting the rows of a table stops after this number; the count ``COUNTED_TO + 1`` means "more"."""

SCRATCH_MARGIN = 64 << 20
"""Bytes that must stay free in the scratch folder when :meth:`Engine.load` stores a dump there."""

Row = tuple[str | None, ...]
"""One row of a probe's result: each value as text, ``None`` for NULL."""


@dataclass(frozen=True, kw_only=True)
class Versions:
    """The versions that the server and the program that dumps it report."""

    server: str
    tool: str


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Row counts and results of probes (queries to compare after a restore), read in one snapshot.

    ``row_counts`` omits tables that the role may not read. ``denied`` names the probes that the role may not
    run. ``failed`` maps the other probes without a result to the reason. ``snapshot`` is the identifier of
    the exported snapshot, or empty.
    """

    snapshot: str = ""
    row_counts: dict[str, int] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    denied: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RestoreSelection:
    """The part of a dump to load.

    With ``owners``, objects get their recorded owners and privileges; without, all objects belong to the role
    of the restore. ``tables`` are the ``schema.table`` names of the tables to restore; empty means the
    complete dump. ``table_owners`` are the roles that may own these tables.
    """

    owners: bool = True
    tables: tuple[str, ...] = ()
    table_owners: tuple[str, ...] = ()


WHOLE = RestoreSelection()
"""The complete dump, with owners and privileges."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """The live database that a restore would replace.

    ``where`` is its address for messages, without secrets. ``tables`` is the number of tables; ``None`` means
    that the database exists but cannot be read (a restore can replace it even so). ``size`` is in bytes.
    """

    name: str
    where: str
    exists: bool
    tables: int | None = 0
    size: int = 0

    @property
    def empty(self) -> bool:
        """Whether the database has no tables, or does not exist."""
        return self.tables == 0


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A client program that the restore needs.

    ``needed`` is the lowest major version that can read the dump. ``present`` and ``path`` are the version
    and the path of the installed program; both are empty if none is installed.
    """

    program: str
    needed: int
    present: str = ""
    path: str = ""


@dataclass(frozen=True, kw_only=True)
class Role:
    """A role that the backup mentions, and whether it exists on the target server."""

    name: str
    exists: bool


@dataclass(frozen=True, kw_only=True)
class Extension:
    """An extension of the backup: its ``version`` there, and the version ``available`` on the target server.

    ``available`` is empty if the target server does not have the extension.
    """

    name: str
    version: str
    available: str = ""


@dataclass(frozen=True)
class Sessions:
    """The number of sessions in the live database that have the same application, client address and role.

    ``address`` is ``hidden`` if the current role may not see the address.
    """

    application: str
    address: str
    role: str
    count: int


@dataclass(frozen=True)
class Subscription:
    """A subscription of the live database to logical replication."""

    name: str
    enabled: bool


@dataclass(frozen=True, kw_only=True)
class TargetState:
    """The server of the live database, and what depends on the live database there.

    A plan shows this to users before they confirm a restore; ``Engine.blockers`` returns what prevents it.
    ``server`` is ``host:port``. All fields are empty for SQLite, which has no server.
    """

    server: str = ""
    server_version: str = ""
    system_identifier: str = ""
    tools: tuple[Tool, ...] = ()
    roles: tuple[Role, ...] = ()
    extensions: tuple[Extension, ...] = ()
    sessions: tuple[Sessions, ...] = ()
    replication_slots: tuple[str, ...] = ()
    prepared_transactions: tuple[str, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()
