"""Command-line options that ``restore_all`` and ``extract_backup`` share."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, _ArgumentGroup
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from igny8_backup.conf import STORAGE_ALIAS
from igny8_backup.errors import UsageError
from igny8_backup.operations.selection import ALL
from igny8_backup.operations.staging.overrides import PROVIDERS, RestoreOverrides


def add_source_options(parser: ArgumentParser) -> None:
    """Add the options that say which backup, or which part of one, to read."""
    parser.add_argument(
        "id", nargs="?", type=not_empty, metavar="ID", help="A backup. Default: the newest complete one."
    )
    parser.add_argument(
        "--only",
        default=ALL,
        metavar="db|files|NAME",
        help="Only the databases, only the files, or one database or tree. Logs must be named.",
    )
    parser.add_argument("--identity", type=Path, metavar="FILE", help="The file with the private key.")
    parser.add_argument(
        "--from-storage",
        default=STORAGE_ALIAS,
        metavar="ALIAS",
        help="Read the backup from this entry of STORAGES.",
    )


def add_override_options(parser: ArgumentParser | _ArgumentGroup) -> None:
    """Add the options for a database that is to differ from what was backed up."""
    parser.add_argument(
        "--no-owner",
        action="store_true",
        help="Make the restoring role the owner of everything, and leave out privileges.",
    )
    parser.add_argument(
        "--locale", default="", help="Create the database with this locale instead of the recorded one."
    )
    parser.add_argument(
        "--locale-provider", choices=PROVIDERS, help="The provider of --locale. Default: libc."
    )


def add_personal_data_options(parser: ArgumentParser | _ArgumentGroup) -> None:
    """Add ``--sanitize`` and ``--keep-personal-data``, which exclude each other."""
    personal = parser.add_mutually_exclusive_group()
    personal.add_argument(
        "--sanitize", action="store_true", help="Run SANITIZERS before anybody can connect to the database."
    )
    personal.add_argument(
        "--keep-personal-data",
        action="store_true",
        help="In DEBUG: accept a production backup without sanitizing it.",
    )


def add_set_id_option(parser: ArgumentParser | _ArgumentGroup) -> None:
    """Add ``--allow-set-id``."""
    parser.add_argument(
        "--allow-set-id",
        action="store_true",
        help="Restore set-user-ID and set-group-ID bits and file capabilities.",
    )


def not_empty(text: str) -> str:
    """Return the argument. An empty one comes from an unset variable in a script: it must not count as "not
    given", because without an id or a target ``restore_all`` takes the newest backup."""
    if not text:
        raise ArgumentTypeError("the value is empty.")
    return text


def overrides_from_options(options: Mapping[str, Any]) -> RestoreOverrides:
    """Return the overrides that were asked for. Raises ``UsageError`` for a provider without a locale."""
    if options["locale_provider"] and not options["locale"]:
        raise UsageError(
            "--locale-provider needs --locale, which was not given.",
            unchanged="Nothing was changed.",
            hint="Give both, for example --locale-provider builtin --locale C.UTF-8.",
        )
    return RestoreOverrides(
        owners=not options["no_owner"],
        locale=options["locale"],
        provider=options["locale_provider"] or "libc",
    )


def refuse_options(options: Mapping[str, Any], *names: str, because: str) -> None:
    """Raise :class:`UsageError` if one of the options ``names`` was given. ``because`` completes the sentence
    that begins with the name of the option."""
    for name in names:
        if options[name.removeprefix("--").replace("-", "_")] not in (None, False, "", []):
            raise UsageError(f"{name} {because}.", unchanged="Nothing was changed.", hint=f"Remove {name}.")
