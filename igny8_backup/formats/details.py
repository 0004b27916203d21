"""The details of a backup: facts about its contents, which are encrypted like the data.

The page "JSON files in storage" of the documentation lists every field.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from igny8_backup.common.humanize import count_in_words, size_in_words
from igny8_backup.errors import IntegrityError

SCHEMA = 1


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
    """A privilege on a database or a schema. An empty ``grantee`` means ``PUBLIC``."""

    grantee: str
    privilege: str
    grantable: bool


@dataclass(frozen=True, kw_only=True)
class SecurityLabel:
    """A label of the database itself: ``SECURITY LABEL FOR provider ON DATABASE ... IS label``."""

    provider: str
    label: str


@dataclass(frozen=True, kw_only=True)
class SchemaAccess:
    """A schema, its owner, and all privileges on it, those of the owner included.

    In a restore without the owners of the backup (``--no-owner``), ``owner`` is empty and ``privileges`` is
    ``None``, because neither is restored.
    """

    name: str
    owner: str
    privileges: tuple[Privilege, ...] | None = None


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

    For SQLite only ``alias``, ``name``, ``tables``, the migrations and ``size`` are set. ``privileges`` is
    ``None`` if the database has the default privileges. ``roles`` own objects or have privileges on them. The
    restoring role must be a member of ``owners``. Policies of row-level security name ``policy_roles``.
    ``grantors`` granted privileges on objects that they do not own.
    ``server`` is the host and port of the source, and ``system_identifier`` identifies its data folder; both
    are empty in backups of earlier releases.

    ``migrations`` maps each app to its last applied migration, ``applied_migrations`` to all its applied
    migrations. The latter is ``None`` in backups of earlier releases. ``stale_migrations`` are the applied
    migrations whose files the code no longer had when the backup was made, as after squashing.

    ``schemas`` are the schemas in the snapshot of the dump. ``access`` maps the other objects whose owner or
    privileges are not the default ones to a text that contains both. ``None`` means "not recorded".

    ``row_counts`` maps tables to their number of rows in the snapshot of the dump. Counting stops at
    ``counted_to + 1``, so this number means "more than ``counted_to``". ``snapshot`` is the name of the
    snapshot on the source server.
    """

    alias: str
    name: str
    tables: tuple[str, ...]
    migrations: dict[str, str] = field(default_factory=dict)
    applied_migrations: dict[str, tuple[str, ...]] | None = None
    stale_migrations: dict[str, tuple[str, ...]] = field(default_factory=dict)
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
    is_template: bool = False
    comment: str | None = None
    security_labels: tuple[SecurityLabel, ...] = ()
    extensions: dict[str, str] = field(default_factory=dict)
    roles: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    policy_roles: tuple[str, ...] = ()
    grantors: tuple[str, ...] = ()
    settings: tuple[DatabaseSetting, ...] = ()
    privileges: tuple[Privilege, ...] | None = None
    excluded_data: tuple[str, ...] = ()
    server: str = ""
    system_identifier: str = ""
    schemas: tuple[SchemaAccess, ...] | None = None
    access: dict[str, str] | None = None
    snapshot: str = ""
    counted_to: int = 0
    row_counts: dict[str, int] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()


def by_app(migrations: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Map each app in ``migrations`` (pairs of app and name) to the sorted names, each once."""
    found: dict[str, set[str]] = {}
    for app, name in migrations:
        found.setdefault(app, set()).add(name)
    return {app: tuple(sorted(names)) for app, names in sorted(found.items())}


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
class NewlyExcluded:
    """Existing files that the previous backup holds and that the settings exclude now.

    ``path`` is the folder (escaped) that is excluded or that holds excluded files; it is empty for the root.
    ``files`` and ``bytes`` are the number and the size of these files in the previous backup. ``reason`` says
    what excludes them. One item may count the files in all further folders; its ``path`` and ``reason`` are
    empty.
    """

    path: str
    files: int
    bytes: int
    reason: str

    def __str__(self) -> str:
        where = self.path or ("the root" if self.reason else "further folders")
        how = f", {self.reason}" if self.reason else ""
        return f"{where} ({count_in_words(self.files, 'file')}, {size_in_words(self.bytes)}{how})"


@dataclass(frozen=True, kw_only=True)
class TreeDetails:
    """Facts about the copy of a tree.

    ``exclude`` are the patterns of excluded paths, and ``exclude_caches`` says whether ``CACHEDIR.TAG`` was
    honoured. ``longest_name`` is the number of bytes of the longest name. ``case_clash``: a folder has names
    that differ only in the case of ASCII letters.
    """

    name: str
    exclude: tuple[str, ...] = ()
    exclude_caches: bool = False
    newly_excluded: tuple[NewlyExcluded, ...] = ()
    longest_name: int = 0
    case_clash: bool = False


@dataclass(frozen=True, kw_only=True)
class Details:
    """The details of a backup: facts about its databases and trees that are encrypted like the data.

    ``errors`` maps the names of databases and trees that failed to the messages of their errors.
    """

    schema: int
    id: str
    secret_key_fingerprint: str
    databases: tuple[DatabaseDetails, ...] = ()
    trees: tuple[TreeDetails, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    errors: dict[str, str] = field(default_factory=dict)

    def database(self, alias: str) -> DatabaseDetails:
        """Return the details of a database. Raises ``IntegrityError`` if there are none."""
        for found in self.databases:
            if found.alias == alias:
                return found
        raise IntegrityError(f"The details of backup {self.id} do not contain the database {alias!r}.")

    def tree(self, name: str) -> TreeDetails | None:
        """Return the details of a tree; None in a backup of an earlier release."""
        return next((found for found in self.trees if found.name == name), None)
