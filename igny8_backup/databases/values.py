"""Arguments and results of the methods of engines.

The classes are frozen and import no database driver, so that plans and JSON output can contain them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from igny8_backup.formats.details import Probe, SchemaAccess

COUNTED_TO = 1_000_000
"""Counting the rows of a table stops after this number; the count ``COUNTED_TO + 1`` means "more"."""

Row = tuple[str | None, ...]
"""One row of a probe's result: each value as text, ``None`` for NULL."""


@dataclass(frozen=True, kw_only=True)
class Versions:
    """The version of the server and the version of the program that dumps it, as each reports it."""

    server: str
    tool: str


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Row counts and results of probes (queries to compare after a restore), read in one snapshot.

    ``row_counts`` maps tables to their number of rows. ``uncounted`` maps each table that could not be
    counted to the reason. Tables that the role may not read are in neither. ``denied`` names the probes that
    the role may not run. ``unasked`` maps probes that failed for a cause outside this database, such as a
    lost connection, to the reason. ``failed`` maps all other probes that failed to the reason. ``snapshot``
    is the identifier of the exported snapshot, or empty. ``tables`` are the tables of the dump; ``None`` if
    unknown. ``schemas`` are the schemas with their owners and privileges. ``access`` maps the other objects
    whose owner or privileges are not the default ones to a text that contains both. ``data_time`` is the time
    up to which a standby had replayed the changes of its primary; ``None`` for a primary.
    """

    snapshot: str = ""
    tables: tuple[str, ...] | None = None
    row_counts: dict[str, int] = field(default_factory=dict)
    uncounted: dict[str, str] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    unasked: dict[str, str] = field(default_factory=dict)
    denied: tuple[str, ...] = ()
    schemas: tuple[SchemaAccess, ...] | None = None
    access: dict[str, str] | None = None
    data_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class LostData:
    """The data that cannot be read from a damaged dump: see :mod:`igny8_backup.databases.salvage`.

    ``packs`` are the names of the damaged packs. ``entries`` are the numbers of the entries in the main
    archive whose data are lost, and ``data`` those in each data archive. ``tables`` are the ``schema.table``
    names of the tables among all of them, and ``large_objects`` says whether large objects are. ``archives``
    are the numbers, from 1, of data archives that cannot be read at all; ``data`` has no items for these.
    ``found`` are the names of all tables whose rows are in the archives that can be read, lost or not.
    """

    packs: frozenset[str] = frozenset()
    entries: frozenset[int] = frozenset()
    tables: tuple[str, ...] = ()
    large_objects: bool = False
    data: tuple[frozenset[int], ...] = ()
    archives: frozenset[int] = frozenset()
    found: frozenset[str] = frozenset()

    def of_archive(self, number: int) -> LostData:
        """Return what is lost of one archive: of the main one, number 0, or of a data archive in ``data``."""
        return replace(self, entries=(self.entries, *self.data)[number], data=()) if number else self


@dataclass(frozen=True, kw_only=True)
class RestoreSelection:
    """The part of a dump to load.

    With ``owners``, objects get their recorded owners and privileges; without, all objects belong to the role
    of the restore. ``tables`` are the ``schema.table`` names of the tables to restore; empty means the
    complete dump. ``untrusted``: refuse a dump with SQL that reaches beyond the database, such as
    ``COPY ... PROGRAM``. ``lost`` is the data that damage has taken from the dump.
    """

    owners: bool = True
    tables: tuple[str, ...] = ()
    untrusted: bool = False
    lost: LostData = LostData()


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
class VulnerableProgram:
    """A client program or the server, in a release with known security holes that a forged dump could use.

    ``program`` is ``pg_restore``, ``pg_dump``, ``psql`` or ``the server``. ``cves`` are the CVE numbers of
    the holes, ``effects`` are clauses on what they allow. ``fixed_in`` is the first release without any of
    these holes, and ``package`` is what to upgrade to that release.
    """

    program: str
    version: str
    path: str = ""
    cves: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    fixed_in: str = ""
    package: str = ""

    @property
    def text(self) -> str:
        """A sentence that names the program, its version, the holes and their effects."""
        name = self.path or self.program
        return (
            f"{name} is version {self.version}, which has known security holes: {'; '.join(self.effects)}"
            f" ({', '.join(self.cves)})."
        )

    @property
    def remedy(self) -> str:
        """A sentence that says what to upgrade, and to which release."""
        return f"Upgrade {self.package} to {self.fixed_in} or later."


@dataclass(frozen=True, kw_only=True)
class ServerAccess:
    """The server and the role with which a drill connects, in place of those in ``DATABASES``.

    An empty ``host`` keeps the server of ``DATABASES``, with its other parameters. ``options`` are further
    parameters of libpq.
    """

    user: str
    password: str = field(default="", repr=False)
    host: str = ""
    port: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Role:
    """A role that the backup mentions, and whether it exists on the target server."""

    name: str
    exists: bool


@dataclass(frozen=True, kw_only=True)
class Extension:
    """An extension: its ``version`` in the backup, and the version ``available`` on the target server.

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
