"""What the settings come to: frozen, typed values, and what can be wrong with them."""

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
"""How old the newest complete copy of a part may be, unless the settings say otherwise."""


class ConfigurationError(BackupError, ImproperlyConfigured):
    """A setting is missing or wrong."""

    exit_status = 2


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing wrong with the settings: a stable id, what, and the exact fix."""

    id: str
    message: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class Encryption:
    """``recipients``: age public keys; ``identity_file``: where restores find the private key."""

    recipients: tuple[str, ...] = ()
    identity_file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long ago the newest verification may be, and the newest drill that went well; ``None`` for ever."""

    verified: timedelta | None = timedelta(days=9)
    """A weekly one, and two days to mend what stopped it."""
    drilled: timedelta | None = timedelta(days=35)
    """A monthly one, and a few days."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The settings, each documented on the page "Settings". ``encryption`` is ``None`` only where the settings
    say ``"ENCRYPTION": None`` in so many words."""

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
        """How old the newest complete copy of ``part`` may be; ``None`` for any age."""
        for name in (f"{part.host}/{part.name}", part.name):
            if name in self.max_age:
                return self.max_age[name]
        return MAX_AGE

    def patterns_of(self, tree: str) -> tuple[str, ...]:
        """What stays out of the backups of a tree, the least important pattern first."""
        return (*(excludes.CACHES if self.exclude_caches else ()), *self.exclude.get(tree, ()))

    @property
    def recipients(self) -> tuple[str, ...]:
        return self.encryption.recipients if self.encryption else ()
