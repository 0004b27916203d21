"""Danger asks to type a name."""

from __future__ import annotations

import shlex
import sys
from typing import Any

from igny8_backup.errors import UsageError
from igny8_backup.humanize import count_in_words
from igny8_backup.management.base import BackupCommand, ask
from igny8_backup.operations.restore.plan import RestorePlan


def confirm(command: BackupCommand, plan: RestorePlan, options: dict[str, Any]) -> None:
    """Asks for the name of each database that is replaced; where none is, of each tree. Without a question a
    database must have been named. Raises :class:`UsageError`."""
    for name in plan.replaces:
        confirm_database(command, options, name)
    if plan.policy.purge:
        confirm_purge(command, options, plan.workers.waiting)
    if plan.replaces or not options["interactive"]:
        return
    for tree in plan.trees:
        if tree.empty:
            continue
        if not _asking(command, options):
            raise UsageError(
                f"The files of {tree.part.name!r} in {tree.root} would be replaced.",
                unchanged="Nothing was changed.",
                hint="Give --noinput, or run on a terminal and type the name of the tree.",
            )
        _ask(f"Type the name of the tree to replace its files ({tree.part.name}): ", tree.part.name)


def confirm_database(command: BackupCommand, options: dict[str, Any], name: str) -> None:
    """Asks for the name of a database that is replaced, unless it was given as an option."""
    if name in options["database_name"]:
        return
    if not _asking(command, options):
        raise UsageError(
            f"The database {name!r} is not empty and would be replaced.",
            unchanged="Nothing was changed.",
            hint=f"Give --noinput --database-name {shlex.quote(name)}, or run on a terminal and type its"
            " name.",
        )
    _ask(f"Type the name of the database to replace it ({name}): ", name)


def confirm_purge(command: BackupCommand, options: dict[str, Any], waiting: int) -> None:
    """Asks before tasks that wait in the broker are discarded."""
    if not options["interactive"]:
        return
    if not _asking(command, options):
        raise UsageError(
            "The tasks that wait in the broker would be discarded.",
            unchanged="Nothing was changed.",
            hint="Give --noinput, or run on a terminal and type purge.",
        )
    tasks = count_in_words(waiting, "task")
    if ask(f"Type purge to discard what waits in the queues ({tasks} now): ") != "purge":
        raise UsageError("Not confirmed.", unchanged="Nothing was changed.")


def _asking(command: BackupCommand, options: dict[str, Any]) -> bool:
    return bool(options["interactive"]) and not command.json and sys.stdin.isatty()


def _ask(question: str, name: str) -> None:
    if ask(question) != name:
        raise UsageError("That is not its name.", unchanged="Nothing was changed.")
