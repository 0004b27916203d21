"""The details of a backup: facts about its contents, which are encrypted like the data.

The page "JSON files in storage" of the documentation lists every field.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from igny8_backup.errors import IntegrityError


@dataclass(frozen=True, kw_only=True)
class DatabaseSetting:
    """A setting of a database: ``ALTER DATABASE ... SET name = value``.

    If ``role`` is not empty, the setting applies to this role: ``ALTER ROLE role IN DATABASE ... SET``.
    """

    role: str
    name: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Privilege:
    """A privilege on a database. An empty ``grantee`` means ``PUBLIC``."""

    grantee: str
    privilege: str
    grantable: bool


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A query of the setting ``PROBES`` and its result in the snapshot of the dump.

    ``rows`` are sorted and contain the text of each value, or ``None`` for NULL.
    """

    name: str
    query: str
    rows: tuple[tuple[str | None, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class DatabaseDetails:
    """The properties of a database that ``CREATE DATABASE`` and the checks of a restore need.

    For SQLite only ``alias``, ``name``, ``tables``, ``migrations`` and ``size`` are set. ``privileges`` is
    ``None`` if the database has the default privileges. ``roles`` own objects or have privileges on them; the
    restoring role must be a member of ``owners``; policies of row-level security name ``policy_roles``.
    ``server`` is the host and port of the source, and ``system_identifier`` identifies its data folder; both
    are empty in backups of earlier releases.

    ``row_counts`` maps tables to their number of rows in the snapshot of the dump. Counting stops at
    ``counted_to + 1``, so this number means "more than ``counted_to``". ``snapshot`` is the name of the
    snapshot on the source server.
    """

    alias: str
    name: str
    tables: tuple[str, ...]
    migrations: dict[str, str] = field(default_factory=dict)
    size: int = 0
    encoding: str = ""
    provider: str = ""
    collate: str = ""
    ctype: str = ""
    locale: str | None = None
    icu_rules: str | None = None
    owner: str = ""
    tablespace: str = ""
    connection_limit: int = -1
    comment: str | None = None
    extensions: dict[str, str] = field(default_factory=dict)
    roles: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    policy_roles: tuple[str, ...] = ()
    settings: tuple[DatabaseSetting, ...] = ()
    privileges: tuple[Privilege, ...] | None = None
    excluded_data: tuple[str, ...] = ()
    server: str = ""
    system_identifier: str = ""
    snapshot: str = ""
    counted_to: int = 0
    row_counts: dict[str, int] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A file that is missing from the backup or incomplete in it.

    ``path`` has special characters escaped, as in the index (the list of files) of the tree.
    ``failure`` is false for kinds of files that are never backed up, such as sockets.
    """

    tree: str
    path: str
    reason: str
    failure: bool = True


@dataclass(frozen=True, kw_only=True)
class Details:
    """The details of a backup: facts about its databases and trees that are encrypted like the data.

    ``errors`` maps the names of databases and trees that failed to the messages of their errors.
    """

    schema: int
    id: str
    secret_key_fingerprint: str
    databases: tuple[DatabaseDetails, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    errors: dict[str, str] = field(default_factory=dict)

    def database(self, alias: str) -> DatabaseDetails:
        """Return the details of a database. Raises ``IntegrityError`` if there are none."""
        for found in self.databases:
            if found.alias == alias:
                return found
        raise IntegrityError(f"The details of backup {self.id} do not contain the database {alias!r}.")
