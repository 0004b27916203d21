"""The dataclasses that hold the settings, and the problems that settings can have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from igny8_backup.common.hidden import Hidden
from igny8_backup.errors import BackupError
from igny8_backup.formats.object_lock import ObjectLock
from igny8_backup.retention.policy import Part
from igny8_backup.retention.rules import Policy
from igny8_backup.signing.trust import Trust
from igny8_backup.trees.scan import excludes

SETTING = "IGNY8_BACKUP"
STORAGE_ALIAS = "dbbackup"
MAX_AGE = timedelta(days=2)
"""The default of ``MAX_AGE``: how old the newest complete copy of a database or tree may be."""
LEAST_DELAY = timedelta(hours=2)
"""A backup that is late by one period is not reported before this time has passed as well."""
FULL_EVERY = timedelta(days=7)
"""The default of ``FULL_EVERY``: how often a dump in chunks is a full one."""
SHRINK, LOGS_SHRINK = 0.5, 0.0
"""The defaults of ``SHRINK`` for databases and sites, and for logs: a log may shrink, but not to nothing."""


class ConfigurationError(BackupError, ImproperlyConfigured):
    """A setting is missing or wrong."""

    exit_status = 2


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem with the settings: the id of its system check, a message, and how to fix it."""

    id: str
    message: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class Encryption:
    """The age public keys that backups are encrypted to, and the file with the private key, for restores."""

    recipients: tuple[str, ...] = ()
    identity_file: Path | None = None


@dataclass(frozen=True)
class Sandbox:
    """How to start the process that migrates and sanitizes, and the addresses that it is allowed to reach.

    ``script`` is the path or the module that runs management commands. If ``script`` is empty, it is found
    automatically. Each item of ``allow`` is a host and a port (``None`` allows all ports), or the path of a
    Unix socket and ``None``.
    """

    script: str = ""
    allow: tuple[tuple[str, int | None], ...] = ()


@dataclass(frozen=True, kw_only=True)
class DrillServer:
    """The PostgreSQL server and role that drills use. ``options`` are connection parameters of libpq."""

    host: str
    user: str
    port: str = ""
    password: str = field(default="", repr=False)
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How old the newest verification and the newest successful drill (practice restore) may be.

    ``None`` allows any age.
    """

    verified: timedelta | None = timedelta(days=9)
    """Enough for a weekly verification and two days to repair what prevented it."""
    drilled: timedelta | None = timedelta(days=35)
    """Enough for a monthly drill and a few days to repair what prevented it."""


@dataclass(frozen=True, kw_only=True)
class CopyTarget:
    """A storage for copies. ``name`` is its key in ``COPIES``, ``storage`` its alias in ``STORAGES``.

    ``parts`` are the databases and trees to copy, as names or with their kind (``files:uploads``). If
    ``parts`` is empty, all databases and trees are copied.
    """

    name: str
    storage: str
    retention: Policy
    parts: tuple[str, ...] = ()

    def holds(self, kind: str, name: str) -> bool:
        """Return whether the database or tree ``name`` is copied; ``kind`` is ``database`` or ``files``."""
        return not self.parts or name in self.parts or f"{kind}:{name}" in self.parts


@dataclass(frozen=True, kw_only=True)
class FleetHost:
    """What one host backs up in a fleet backup, and the Celery queue whose worker on that host does it.

    ``databases`` are aliases, ``sites`` and ``logs`` names of trees.
    """

    queue: str
    databases: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of this package. The page "Settings" of the documentation describes each.

    ``encryption`` is ``None`` only if the settings contain ``"ENCRYPTION": None``. ``exclude_caches`` are the
    names of the trees whose caches are excluded. ``hosts`` maps the names of the hosts that are expected to
    make backups to their settings; it is ``None`` if none is declared. ``fleet`` are those of them that take
    part in fleet backups; ``unclaimed`` are the databases and ``SITES`` that none of them backs up.
    ``object_lock`` maps aliases of
    ``STORAGES`` to the locks of the objects there. ``copies`` are the storages that keep copies, by name.
    ``backup_every`` maps databases and trees to the time between two of their backups, as far as it is known.
    ``status_cache`` is the alias of the cache that holds the status for the page in the admin; it is empty if
    there is none. ``queue`` names the queue for tasks: see :mod:`igny8_backup.queues`.
    """

    prefix: str
    host: str
    hosts: Mapping[str, Mapping[str, Any]] | None = None
    fleet: Mapping[str, FleetHost] = field(default_factory=dict)
    unclaimed: tuple[str, ...] = ()
    environment: str
    databases: tuple[str, ...]
    sites: Mapping[str, Path]
    logs: Mapping[str, Path]
    encryption: Encryption | None
    signing_key: Path | None
    trust: Trust
    object_lock: Mapping[str, ObjectLock] = field(default_factory=dict)
    copies: Mapping[str, CopyTarget] = field(default_factory=dict)
    compression_level: int
    files_compression_level: int
    jobs: int | None = None
    dump_jobs: int | None = None
    scratch_dir: Path
    state_dir: Path
    exclude_table_data: Mapping[str, tuple[str, ...]]
    chunked_dumps: tuple[str, ...] = ()
    chunked_trees: tuple[str, ...] = ()
    full_every: timedelta = FULL_EVERY
    exclude: Mapping[str, tuple[str, ...]]
    exclude_caches: tuple[str, ...]
    sanitizers: Mapping[str, tuple[str, ...]]
    probes: Mapping[str, Mapping[str, str]]
    sandbox: Sandbox = Sandbox()
    drill_server: DrillServer | None = None
    restore_user: str = ""
    swap_whole: tuple[str, ...]
    client_bin_dir: Path | None
    assume_space: int | None
    retention: Policy
    max_age: Mapping[str, timedelta | None]
    shrink: Mapping[str, float | None]
    limits: Limits
    stall_seconds: int
    retry_seconds: int
    max_upload_rate: int | None = None
    yield_after: int = 0
    backup_every: Mapping[str, timedelta] = field(default_factory=dict)
    status_cache: str = ""
    queue: str = ""
    workers: str
    before_backup: tuple[tuple[str, ...], ...] = ()
    after_backup: tuple[tuple[str, ...], ...] = ()
    before_restore: tuple[tuple[str, ...], ...]
    after_restore: tuple[tuple[str, ...], ...]
    notify: tuple[Hidden, ...] = field(default=(), repr=False)
    notify_summary: str = ""
    debug: bool

    def max_age_of(self, part: Part) -> timedelta | None:
        """Return how old the newest complete copy of a database or tree may be; ``None`` allows any age."""
        for name in (f"{part.host}/{part.name}", part.name):
            if name in self.max_age:
                return self.max_age[name]
        if part.name in self.backup_every:
            every = self.backup_every[part.name]
            return every + max(every, LEAST_DELAY)
        return MAX_AGE

    def shrink_of(self, part: Part, role: str) -> float | None:
        """Return how small a copy of ``part`` may be, as a share of the size of the copy before it.

        ``None`` accepts every size. ``role`` is ``sites`` or ``logs`` for a tree, and empty for a database.
        """
        for name in (f"{part.host}/{part.name}", part.name):
            if name in self.shrink:
                return self.shrink[name]
        return LOGS_SHRINK if role == "logs" else SHRINK

    def patterns_of(self, tree: str) -> tuple[str, ...]:
        """Return the exclude patterns of the tree of this name. Later patterns override earlier ones."""
        return (*(excludes.CACHES if tree in self.exclude_caches else ()), *self.exclude.get(tree, ()))

    def alias_of(self, name: str) -> str:
        """Return the alias of ``STORAGES`` that the copy ``name`` uses; ``name`` itself if it is no copy."""
        return self.copies[name].storage if name in self.copies else name

    def at_storage(self, alias: str) -> Config:
        """Return the settings for work on the backups in the storage ``alias``.

        For the storage of a copy, the result has the retention policy of the copy, and only checks of this
        copy are trusted.
        """
        copy = next((copy for copy in self.copies.values() if copy.storage == alias), None)
        if copy is None:
            return self
        return replace(self, retention=copy.retention, trust=replace(self.trust, copy=copy.name))

    @property
    def recipients(self) -> tuple[str, ...]:
        return self.encryption.recipients if self.encryption else ()
