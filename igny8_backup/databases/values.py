"""Values that engines take and return.

All are frozen and know no database driver, so that plans, details and JSON output can hold them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from igny8_backup.formats.details import Probe

COUNTED_TO = 1_000_000
"""Rows of a table are counted up to this number; ``COUNTED_TO + 1`` means "more than this"."""

SCRATCH_MARGIN = 64 << 20
"""Bytes of scratch that must stay free beside a dump that :meth:`Engine.load` stores there."""

Row = tuple[str | None, ...]
"""One row of a probe's answer: each value as text, ``None`` for NULL."""


@dataclass(frozen=True, kw_only=True)
class Versions:
    """The versions of the server and of the program that dumps it, as each reports its own."""

    server: str
    tool: str


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Row counts and probe results of one database at one instant.

    ``row_counts`` omits tables that the role may not read. ``denied`` names the probes that the role may not
    run. ``failed`` maps each other probe without a result to the reason. ``snapshot`` is the identifier of
    the exported snapshot, empty where there was none.
    """

    snapshot: str = ""
    row_counts: dict[str, int] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    denied: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RestoreSelection:
    """The part of a dump to load.

    With ``owners``, objects keep their recorded owners and privileges; without, everything belongs to the
    role that restores. ``tables`` are ``schema.table`` names to restore alone; empty means the whole dump.
    ``table_owners`` are the roles that may own one of ``tables``.
    """

    owners: bool = True
    tables: tuple[str, ...] = ()
    table_owners: tuple[str, ...] = ()


WHOLE = RestoreSelection()
"""The whole dump, with owners and privileges."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """The live database that a restore would replace.

    ``where`` is its address for people, without secrets. ``tables`` is the number of tables, ``None`` if the
    database exists but cannot be read (a damaged database can still be replaced). ``size`` is in bytes.
    """

    name: str
    where: str
    exists: bool
    tables: int | None = 0
    size: int = 0

    @property
    def empty(self) -> bool:
        """Whether a restore would replace nothing."""
        return self.tables == 0


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A client program that the restore needs.

    ``needed`` is the lowest major version that can read the dump. ``present`` and ``path`` describe the
    program that was found; both are empty if none was found.
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
    """An extension: its ``version`` in the backup, and the version ``available`` on the target server.

    ``available`` is empty if the server does not have the extension.
    """

    name: str
    version: str
    available: str = ""


@dataclass(frozen=True, kw_only=True)
class Sessions:
    """The number of sessions in the live database with the same application, client address and role.

    ``address`` is ``hidden`` where the current role may not see it.
    """

    application: str
    address: str
    role: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """A subscription of the live database, for logical replication."""

    name: str
    enabled: bool


@dataclass(frozen=True, kw_only=True)
class TargetState:
    """The server that a restore would use, and what depends on the live database there.

    People read this before they confirm; what prevents a restore is reported by ``Engine.blockers``.
    ``server`` is ``host:port``. All fields are empty for an engine without a server.
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
