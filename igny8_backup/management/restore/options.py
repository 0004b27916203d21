"""Command-line options that ``restore_all`` and ``extract_backup`` share."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, _ArgumentGroup
from collections.abc import Mapping
from typing import Any

from igny8_backup.common.humanize import size_from_words
from igny8_backup.errors import UsageError
from igny8_backup.management.base import add_identity_argument
from igny8_backup.management.options.as_of import add_as_of_argument
from igny8_backup.management.options.from_storage import add_from_storage_argument
from igny8_backup.management.options.wait import add_wait_argument
from igny8_backup.management.restore.workers import add_worker_options
from igny8_backup.operations.selection import ALL
from igny8_backup.operations.staging.overrides import PROVIDERS, RestoreOverrides

MOVED = {
    "--to-database": "--to-database NAME",
    "--to-dir": "--to-dir DIR",
    "--table": "--to-database NAME --table TABLE",
    "--path": "--to-dir DIR --path GLOB",
    "--migrate": "--to-database NAME --migrate",
}
"""Former options of ``restore_all``, and the options of ``extract_backup`` that replace them."""


def add_source_options(parser: ArgumentParser) -> None:
    """Add the options that name the backup and the parts of it to read."""
    text = "A backup. Default: the newest complete one."
    parser.add_argument("id", nargs="?", type=not_empty, metavar="ID", help=text)
    text = "Only the databases, only the files, or one database or tree. Logs must be named."
    parser.add_argument("--only", default=ALL, metavar="db|files|NAME", help=text)
    add_identity_argument(parser)
    add_vulnerable_option(parser)
    parser.add_argument("--from-host", type=not_empty, metavar="HOST", help="Take the files of this host.")
    add_from_storage_argument(parser, "Read the backup from")
    add_as_of_argument(parser)


def add_override_options(parser: ArgumentParser | _ArgumentGroup) -> None:
    """Add the options that make a restored database differ from the one that was backed up."""
    text = "Make the restoring role the owner of everything, and leave out privileges."
    parser.add_argument("--no-owner", action="store_true", help=text)
    text = "Create the database with this locale instead of the recorded one."
    parser.add_argument("--locale", default="", help=text)
    text = "The provider of --locale. Default: libc."
    parser.add_argument("--locale-provider", choices=PROVIDERS, help=text)


def add_personal_data_options(parser: ArgumentParser | _ArgumentGroup) -> None:
    """Add ``--sanitize`` and ``--keep-personal-data``, which cannot be combined."""
    personal = parser.add_mutually_exclusive_group()
    text = "Run SANITIZERS before anybody can connect to the database."
    personal.add_argument("--sanitize", action="store_true", help=text)
    text = "While DEBUG is on, restore a production backup without sanitizing it."
    personal.add_argument("--keep-personal-data", action="store_true", help=text)


def add_set_id_option(parser: ArgumentParser | _ArgumentGroup) -> None:
    """Add ``--allow-set-id``: restore set-user-ID and set-group-ID bits and file capabilities."""
    text = "Restore set-user-ID and set-group-ID bits and file capabilities."
    parser.add_argument("--allow-set-id", action="store_true", help=text)


def add_assume_space_option(parser: ArgumentParser | _ArgumentGroup) -> None:
    """Add ``--assume-space SIZE``: the free space to assume on the volume of the database server."""
    text = "Assume this much free space on the volume of the database server, for example 200GB."
    parser.add_argument("--assume-space", type=_size, metavar="SIZE", help=text)


def add_vulnerable_option(parser: ArgumentParser) -> None:
    """Add ``--allow-vulnerable-tools``: use PostgreSQL programs with known security holes."""
    text = "Use PostgreSQL programs with known security holes. Only if you trust the storage."
    parser.add_argument("--allow-vulnerable-tools", action="store_true", help=text)


def add_ignore_space_option(parser: ArgumentParser | _ArgumentGroup) -> None:
    """Add ``--ignore-space``: continue although there seems to be too little free space."""
    text = "Continue although the space seems too small, because the estimate is wrong."
    parser.add_argument("--ignore-space", action="store_true", help=text)


def add_no_migrate_option(parser: ArgumentParser) -> None:
    """Add ``--no-migrate``: do not run the project's migrations, for example because one of them fails."""
    text = "Do not run the migrations of the code on the restored database."
    parser.add_argument("--no-migrate", action="store_true", help=text)


def not_empty(text: str) -> str:
    """Return ``text``, the value of an option or argument; refuse an empty one.

    An unset variable in a script makes the value empty. Treated as "not given", it would for example restore
    the newest backup instead of the one that the script means.
    """
    if not text:
        raise ArgumentTypeError("the value is empty.")
    return text


def overrides_from_options(options: Mapping[str, Any]) -> RestoreOverrides:
    """Return how the restored database is to differ from the one that was backed up.

    Raises ``UsageError`` for a locale provider without a locale.
    """
    if options["locale_provider"] and not options["locale"]:
        raise UsageError(
            "--locale-provider needs --locale, which was not given.",
            hint="Give both, for example --locale-provider builtin --locale C.UTF-8.",
        )
    provider = options["locale_provider"] or "libc"
    return RestoreOverrides(owners=not options["no_owner"], locale=options["locale"], provider=provider)


def refuse_options(options: Mapping[str, Any], *names: str, because: str) -> None:
    """Raise :class:`UsageError` if one of the options ``names`` was given.

    ``because`` completes the sentence that begins with the name of the option: ``cannot be combined with
    --in-place``.
    """
    for name in names:
        if _value(options, name) not in (None, False, "", []):
            raise UsageError(f"{name} {because}.", hint=f"Remove {name}.")


def add_restore_options(parser: ArgumentParser) -> None:
    """Add all options of ``restore_all``."""
    add_source_options(parser)
    # A dry run takes no lock, so it never waits.
    exclusive = parser.add_mutually_exclusive_group()
    exclusive.add_argument("--dry-run", action="store_true", help="Show the plan and change nothing.")
    add_wait_argument(exclusive)
    add_worker_options(parser)
    text = "After the restore, discard the tasks that wait in the broker. Asks first."
    parser.add_argument("--purge-queue", action="store_true", help=text)
    add_assume_space_option(parser)
    add_ignore_space_option(parser)
    parser.add_argument("--noinput", action="store_false", dest="interactive", help="Ask no question.")
    text = "Confirm that this live database may be replaced. Repeat for each database."
    parser.add_argument("--database-name", action="append", default=[], metavar="NAME", help=text)
    text = "Replace the contents of the live database, for roles that may not create databases."
    parser.add_argument("--in-place", action="store_true", help=text)
    add_no_migrate_option(parser)
    add_override_options(parser)
    add_set_id_option(parser)
    add_personal_data_options(parser)
    for name in MOVED:
        parser.add_argument(name, nargs="?", const="", help=SUPPRESS)


def refuse_moved_options(options: Mapping[str, Any]) -> None:
    """Raise :class:`UsageError` for a former option of ``restore_all`` that ``extract_backup`` takes now."""
    for name, instead in MOVED.items():
        if _value(options, name) is not None:
            hint = f"Use: manage.py extract_backup [ID] {instead}"
            raise UsageError(f"restore_all no longer takes {name}.", hint=hint)


def _value(options: Mapping[str, Any], name: str) -> Any:
    return options[name.removeprefix("--").replace("-", "_")]


def _size(text: str) -> int:
    try:
        return size_from_words(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{error}.") from None
