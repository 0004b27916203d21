"""The dataclasses that hold the settings, and the problems that settings can have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from igny8_backup.errors import BackupError
from igny8_backup.retention import Part, Policy
from igny8_backup.trees.scan import excludes

SETTING = "IGNY8_BACKUP"
STORAGE_ALIAS = "dbbackup"
MAX_AGE = timedelta(days=2)
"""The default of ``MAX_AGE``: how old the newest complete copy of a database or tree may be."""


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
class Config:
    """All settings of this package. The page "Settings" of the documentation describes each.

    ``encryption`` is ``None`` only if the settings contain ``"ENCRYPTION": None``.
    """

    prefix: str
    host: str
    environment: str
    databases: tuple[str, ...]
    sites: Mapping[str, Path]
    logs: Mapping[str, Path]
    encryption: Encryption | None
    compression_level: int
    files_compression_level: int
    jobs: int
    scratch_dir: Path
    state_dir: Path
    exclude_table_data: Mapping[str, tuple[str, ...]]
    exclude: Mapping[str, tuple[str, ...]]
    exclude_caches: bool
    sanitizers: Mapping[str, tuple[str, ...]]
    probes: Mapping[str, Mapping[str, str]]
    swap_whole: tuple[str, ...]
    client_bin_dir: Path | None
    assume_space: int | None
    retention: Policy
    max_age: Mapping[str, timedelta | None]
    limits: Limits
    stall_seconds: int
    before_restore: tuple[tuple[str, ...], ...]
    after_restore: tuple[tuple[str, ...], ...]
    debug: bool

    def max_age_of(self, part: Part) -> timedelta | None:
        """Return how old the newest complete copy of a database or tree may be; ``None`` allows any age."""
        for name in (f"{part.host}/{part.name}", part.name):
            if name in self.max_age:
                return self.max_age[name]
        return MAX_AGE

    def patterns_of(self, tree: str) -> tuple[str, ...]:
        """Return the exclude patterns of the tree of this name. Later patterns override earlier ones."""
        return (*(excludes.CACHES if self.exclude_caches else ()), *self.exclude.get(tree, ()))

    @property
    def recipients(self) -> tuple[str, ...]:
        return self.encryption.recipients if self.encryption else ()
