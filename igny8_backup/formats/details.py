"""What a backup tells about its contents, encrypted like the data.

The page "JSON files in storage" of the documentation lists every field.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from igny8_backup.errors import IntegrityError


@dataclass(frozen=True, kw_only=True)
class DatabaseSetting:
    """``ALTER DATABASE`` (``role`` empty) or ``ALTER ROLE role IN DATABASE`` ``SET name = value``."""

    role: str
    name: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Privilege:
    """A privilege on the database; ``grantee`` empty means ``PUBLIC``."""

    grantee: str
    privilege: str
    grantable: bool


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A question, by name, and what the database answered in the instant of the dump: the text of each value,
    ``None`` for NULL, the rows sorted."""

    name: str
    query: str
    rows: tuple[tuple[str | None, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class DatabaseDetails:
    """What ``CREATE DATABASE`` and the checks of a restore need.

    SQLite fills ``alias``, ``name``, ``tables``, ``migrations`` and ``size`` only. ``privileges`` is ``None``
    where the database has the server's default ones. ``roles`` are all that own or may use something,
    ``owners`` those of them that the restoring role must be able to act for, ``policy_roles`` those that
    policies of row-level security name. ``server`` is the host and port that the dump came from,
    ``system_identifier`` what tells that server's data from all others'; both are empty in backups that did
    not record them.

    ``row_counts`` maps tables to their own rows in the instant of the dump, ``counted_to + 1`` where there
    were more than ``counted_to``. ``snapshot`` names that instant on its server.
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
    """Something of a tree that is not in the backup as it was found. ``path`` is escaped as in the index;
    ``failure`` is false for what is never backed up, as sockets are."""

    tree: str
    path: str
    reason: str
    failure: bool = True


@dataclass(frozen=True, kw_only=True)
class Details:
    """What tells about the contents. ``errors`` maps a part to the whole text of its failure."""

    schema: int
    id: str
    secret_key_fingerprint: str
    databases: tuple[DatabaseDetails, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    errors: dict[str, str] = field(default_factory=dict)

    def database(self, alias: str) -> DatabaseDetails:
        for found in self.databases:
            if found.alias == alias:
                return found
        raise IntegrityError(f"The details of backup {self.id} do not speak of database {alias!r}.")
