"""Options of a restore that is to differ from what was backed up."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from igny8_backup.errors import UsageError
from igny8_backup.operations.staging.overrides import PROVIDERS, RestoreOverrides


def add_change_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--no-owner",
        action="store_false",
        dest="owners",
        help="All will belong to the role that restores; privileges are left out.",
    )
    parser.add_argument(
        "--locale", default="", help="Make the database with this locale, not with the recorded one."
    )
    parser.add_argument(
        "--locale-provider",
        choices=PROVIDERS,
        help="Whose locale --locale is; default: libc.",
    )


def given(text: str) -> str:
    """The argument itself. An empty one is a variable of a script that was not set: it must not be taken for
    an option that was not given, which would replace what is live."""
    if not text:
        raise ArgumentTypeError("it is empty.")
    return text


def overrides_from_options(options: dict[str, Any]) -> RestoreOverrides:
    """What the options ask for. Raises :class:`UsageError` for a provider without a locale."""
    if options["locale_provider"] and not options["locale"]:
        raise UsageError(
            "--locale-provider says whose locale --locale is, which is not given.",
            unchanged="Nothing was changed.",
            hint="Give --locale, for example --locale-provider builtin --locale C.UTF-8.",
        )
    return RestoreOverrides(
        owners=options["owners"],
        locale=options["locale"],
        provider=options["locale_provider"] or "libc",
    )
