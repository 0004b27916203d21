"""Settings -> one frozen, typed ``Config``; read when first asked for, read again when settings change.

``problems()`` says all that is wrong with the settings, for the system checks; ``get_config()`` raises
:class:`ConfigurationError` with the same words.
"""

from __future__ import annotations

import functools
import re
import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver

from igny8_backup import keys
from igny8_backup.errors import BackupError
from igny8_backup.retention import DEFAULT, Part, Policy
from igny8_backup.words import size_from_words

SETTING = "IGNY8_BACKUP"
STORAGE_ALIAS = "dbbackup"
MAX_AGE = timedelta(days=2)
"""How old the newest complete copy of a part may be, unless the settings say otherwise."""

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+(?<!\.sql)")
_SECRET = re.compile(r"AGE-SECRET-KEY-1\w*", re.IGNORECASE)


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
class Config:
    """The settings, each documented in docs/settings.md. ``encryption`` is ``None`` only where the settings
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
    sanitizers: Mapping[str, tuple[str, ...]]
    swap_whole: tuple[str, ...]
    client_bin_dir: Path | None
    assume_space: int | None
    retention: Policy
    max_age: Mapping[str, timedelta | None]
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

    @property
    def recipients(self) -> tuple[str, ...]:
        return self.encryption.recipients if self.encryption else ()


def get_config() -> Config:
    """The configuration. Raises :class:`ConfigurationError` naming each wrong setting and its fix."""
    config, found = _read()
    if config is None:
        text = " ".join(f"{problem.message} {problem.hint}" for problem in found)
        raise ConfigurationError(text, untouched="Nothing was read or written.")
    return config


def problems() -> list[Problem]:
    """All that is wrong with ``settings.IGNY8_BACKUP`` by itself."""
    return list(_read()[1])


def project_dir() -> Path:
    """``BASE_DIR`` where the settings have one, else the folder of the settings' package."""
    if base := getattr(settings, "BASE_DIR", None):
        return Path(base)
    module = sys.modules.get(getattr(settings, "SETTINGS_MODULE", None) or "")
    if module and module.__file__:
        return Path(module.__file__).resolve().parent.parent
    return Path.cwd()


def home_dir() -> Path:
    """Where things go that the settings name no place for: the state, and in DEBUG the backups."""
    return project_dir() / ".igny8_backup"


@functools.cache
def _read() -> tuple[Config | None, tuple[Problem, ...]]:
    reader = _Reader(getattr(settings, SETTING, {}))
    config = reader.config()
    return (None if reader.problems else config), tuple(reader.problems)


@receiver(setting_changed)
def _reset(**kwargs: Any) -> None:
    _read.cache_clear()


class _Reader:
    """Reads each key, collecting problems rather than stopping at the first."""

    def __init__(self, value: Any) -> None:
        self.problems: list[Problem] = []
        self.value: dict[str, Any] = {}
        if isinstance(value, Mapping):
            self.value = dict(value)
        else:
            self.wrong("E001", f"{SETTING} is not a dict.", f"Set {SETTING} = {{...}}; see docs/settings.md.")

    def wrong(self, number: str, message: str, hint: str) -> None:
        # A private key may have been put anywhere by mistake: no message repeats it.
        message = _SECRET.sub("(a private key)", message)
        self.problems.append(Problem(id=f"igny8_backup.{number}", message=message, hint=hint))

    def take(self, key: str, kind: type | tuple[type, ...], default: Any) -> Any:
        found = self.value.pop(key, default)
        if found is default or (isinstance(found, kind) and not (kind is int and isinstance(found, bool))):
            return found
        kinds = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
        self.wrong(
            "E003",
            f"{SETTING}[{key!r}] is {type(found).__name__}, not {kinds}.",
            f"See {key} in docs/settings.md.",
        )
        return default

    def take_path(self, key: str, default: Path | None) -> Path | None:
        found = self.value.pop(key, default)
        if found is None:
            return None
        return self.path(f"{SETTING}[{key!r}]", found) or default

    def path(self, where: str, found: Any) -> Path | None:
        if isinstance(found, (str, Path)) and Path(found).is_absolute() and "\0" not in str(found):
            return Path(found)
        self.wrong("E004", f"{where} is not an absolute path: {found!r}.", "Give the whole path, from /.")
        return None

    def take_int(self, key: str, default: int, low: int, high: int) -> int:
        found: int = self.take(key, int, default)
        if low <= found <= high:
            return found
        self.wrong("E005", f"{SETTING}[{key!r}] is {found}.", f"Give a number from {low} to {high}.")
        return default

    def take_trees(self, key: str) -> dict[str, Path]:
        trees: dict[str, Path] = {}
        for name, found in self.take(key, dict, {}).items():
            if not (isinstance(name, str) and keys.is_name(name)):
                self.wrong(
                    "E006",
                    f"{SETTING}[{key!r}] has the name {name!r}.",
                    "A name is made of letters, digits, - and _, at most 63.",
                )
            elif path := self.path(f"{SETTING}[{key!r}][{name!r}]", found):
                trees[name] = path
        return trees

    def take_databases(self) -> tuple[str, ...]:
        known = {
            alias: database
            for alias, database in settings.DATABASES.items()
            if database.get("ENGINE", "django.db.backends.dummy") != "django.db.backends.dummy"
        }
        primaries = tuple(alias for alias in known if not (known[alias].get("TEST") or {}).get("MIRROR"))
        chosen = tuple(self.take("DATABASES", (list, tuple), primaries))
        for alias in chosen:
            if not isinstance(alias, str) or alias not in known:
                self.wrong(
                    "E007",
                    f"{SETTING}['DATABASES'] names {alias!r}, which DATABASES does not have.",
                    f"Choose among: {', '.join(known) or 'none'}.",
                )
            elif not keys.is_name(alias):
                self.wrong(
                    "E007",
                    f"The database alias {alias!r} cannot be part of an object's name.",
                    "Rename it in DATABASES: letters, digits, - and _ only.",
                )
        return tuple(dict.fromkeys(map(str, chosen)))

    def take_encryption(self) -> Encryption | None:
        if "ENCRYPTION" in self.value and self.value["ENCRYPTION"] is None:
            del self.value["ENCRYPTION"]
            return None
        found = dict(self.take("ENCRYPTION", dict, {}))
        recipients = found.pop("RECIPIENTS", [])
        identity = found.pop("IDENTITY_FILE", None)
        if not isinstance(recipients, (list, tuple)) or not all(isinstance(one, str) for one in recipients):
            self.wrong(
                "E008",
                f"{SETTING}['ENCRYPTION']['RECIPIENTS'] is not a list of strings.",
                "Give a list of age public keys: generate_backup_key prints the lines.",
            )
            recipients = ()
        for key in found:
            self.wrong(
                "E002",
                f"{SETTING}['ENCRYPTION'] has the unknown key {key!r}.",
                "Known keys: RECIPIENTS, IDENTITY_FILE.",
            )
        path = self.path(f"{SETTING}['ENCRYPTION']['IDENTITY_FILE']", identity) if identity else None
        return Encryption(recipients=tuple(recipients), identity_file=path)

    def take_excluded(self) -> dict[str, tuple[str, ...]]:
        found: dict[Any, Any] = self.take("EXCLUDE_TABLE_DATA", dict, {})
        for alias, tables in found.items():
            if alias not in settings.DATABASES:
                self.wrong(
                    "E009",
                    f"{SETTING}['EXCLUDE_TABLE_DATA'] names {alias!r}, which DATABASES does not have.",
                    f"Choose among: {', '.join(settings.DATABASES)}.",
                )
                return {}
            if not isinstance(tables, (list, tuple)) or not all(isinstance(name, str) for name in tables):
                self.wrong(
                    "E009",
                    f"{SETTING}['EXCLUDE_TABLE_DATA'][{alias!r}] is not a list of table names.",
                    'Write {"default": ["django_session"]}.',
                )
                return {}
        return {str(alias): tuple(tables) for alias, tables in found.items()}

    def take_size(self, key: str) -> int | None:
        found = self.take(key, (int, str), None)
        if found is None:
            return None
        try:
            return size_from_words(str(found))
        except ValueError as error:
            self.wrong("E012", f"{SETTING}[{key!r}]: {error}.", 'Write a number of bytes, or "200GB".')
            return None

    def take_sanitizers(self) -> dict[str, tuple[str, ...]]:
        """Whole paths of SQL files and dotted paths of callables, by alias."""
        found: dict[Any, Any] = self.take("SANITIZERS", dict, {})
        taken: dict[str, tuple[str, ...]] = {}
        for alias, listed in found.items():
            if alias not in settings.DATABASES or not isinstance(listed, (list, tuple)):
                self.wrong(
                    "E013",
                    f"{SETTING}['SANITIZERS'][{alias!r}] is not a list for an alias of DATABASES.",
                    'Write {"default": ["igny8_backup.sanitizers.users", "/path/of/more.sql"]}.',
                )
                continue
            for item in listed:
                text = str(item)
                if not (_DOTTED.fullmatch(text) or (text.endswith(".sql") and Path(text).is_absolute())):
                    self.wrong(
                        "E013",
                        f"{SETTING}['SANITIZERS'][{alias!r}] has {text!r}: no dotted path of a callable, and"
                        " no whole path of a file that ends with .sql.",
                        'Write "app.module.callable", or the path from /.',
                    )
            taken[alias] = tuple(map(str, listed))
        return taken

    def take_retention(self) -> Policy:
        if (found := self.take("RETENTION", dict, None)) is None:
            return DEFAULT
        try:
            return Policy.of(found)
        except ValueError as error:
            self.wrong(
                "E015",
                f"{SETTING}['RETENTION'] cannot be used: {error}.",
                'Write {"daily": 14, "weekly": 8}; "within" is a timedelta, the others are numbers.',
            )
            return DEFAULT

    def take_max_age(self) -> dict[str, timedelta | None]:
        found: dict[Any, Any] = self.take("MAX_AGE", dict, {})
        for name, age in found.items():
            if not (
                isinstance(name, str) and (age is None or (type(age) is timedelta and age > timedelta()))
            ):
                self.wrong(
                    "E016",
                    f"{SETTING}['MAX_AGE'][{name!r}] is {age!r}.",
                    'Write {"logs": timedelta(days=8)}, or None for a part that is no longer backed up.',
                )
                return {}
        return found

    def take_commands(self, key: str) -> tuple[tuple[str, ...], ...]:
        commands = self.take(key, (list, tuple), ())
        for argv in commands:
            words = isinstance(argv, (list, tuple)) and all(isinstance(word, str) for word in argv)
            if not words or not argv or not argv[0] or any("\0" in word for word in argv):
                self.wrong(
                    "E017",
                    f"{SETTING}[{key!r}] is not a list of programs with their arguments.",
                    'Write [["docker", "compose", "stop", "worker"]]: no shell reads it.',
                )
                return ()
        return tuple(map(tuple, commands))

    def config(self) -> Config:
        prefix: str = self.take("PREFIX", str, "igny8/")
        host: str = self.take("HOST", str, socket.gethostname())
        if not keys.is_host(host):
            self.wrong(
                "E010",
                f"The host name {host!r} cannot be part of an object's name.",
                f"Set {SETTING}['HOST'] to letters, digits, -, _ and dots.",
            )
        parts = prefix.removesuffix("/").split("/") if prefix else []
        if "\\" in prefix or not prefix.isprintable() or {"", ".", ".."} & set(parts):
            self.wrong(
                "E011", f"{SETTING}['PREFIX'] is {prefix!r}.", 'Give a relative path, for example "igny8/".'
            )
        config = Config(
            prefix="".join(f"{part}/" for part in parts),
            host=host,
            environment=self.take("ENVIRONMENT", str, "development" if settings.DEBUG else "production"),
            databases=self.take_databases(),
            sites=self.take_trees("SITES"),
            logs=self.take_trees("LOGS"),
            encryption=self.take_encryption(),
            compression_level=self.take_int("COMPRESSION_LEVEL", 3, 1, 19),
            files_compression_level=self.take_int("FILES_COMPRESSION_LEVEL", 2, 1, 19),
            jobs=self.take_int("JOBS", 2, 1, 64),
            scratch_dir=self.take_path("SCRATCH_DIR", None) or Path(tempfile.gettempdir()),
            state_dir=self.take_path("STATE_DIR", None) or home_dir() / "state",
            exclude_table_data=self.take_excluded(),
            sanitizers=self.take_sanitizers(),
            swap_whole=tuple(map(str, self.take("SWAP_WHOLE", (list, tuple), ()))),
            client_bin_dir=self.take_path("CLIENT_BIN_DIR", None),
            assume_space=self.take_size("ASSUME_SPACE"),
            retention=self.take_retention(),
            max_age=self.take_max_age(),
            stall_seconds=self.take_int("STALL_SECONDS", 60, 1, 86_400),
            before_restore=self.take_commands("BEFORE_RESTORE"),
            after_restore=self.take_commands("AFTER_RESTORE"),
            debug=settings.DEBUG,
        )
        if both := sorted(config.sites.keys() & config.logs.keys()):
            self.wrong(
                "E006", f"SITES and LOGS share the name {both[0]!r}.", "Give each tree a name of its own."
            )
        if unknown := sorted(set(config.swap_whole) - config.sites.keys() - config.logs.keys()):
            self.wrong(
                "E014",
                f"{SETTING}['SWAP_WHOLE'] names {unknown[0]!r}, which neither SITES nor LOGS has.",
                f"Choose among: {', '.join((*config.sites, *config.logs)) or 'none'}.",
            )
        for key in self.value:
            self.wrong(
                "E002",
                f"{SETTING} has the unknown key {key!r}.",
                "Remove it, or correct it: docs/settings.md.",
            )
        return config
