"""Ask for confirmation before live data is replaced: the name of the database or tree must be typed."""

from __future__ import annotations

import shlex
import sys
from typing import Any

from igny8_backup.errors import UsageError
from igny8_backup.humanize import count_in_words
from igny8_backup.management.base import BackupCommand, ask
from igny8_backup.operations.restore.plan import RestorePlan


def confirm(command: BackupCommand, plan: RestorePlan, options: dict[str, Any]) -> None:
    """Ask for the name of each database that will be replaced, or, if there is none, of each tree.

    With ``--noinput``, ``--database-name`` must name each database. Raises :class:`UsageError` if a
    confirmation is missing.
    """
    for name in plan.replaces:
        confirm_database(command, options, name)
    if plan.policy.purge:
        confirm_purge(command, options, plan.workers.waiting)
    if plan.replaces or not options["interactive"]:
        return
    for tree in plan.trees:
        if tree.empty:
            continue
        if not _can_ask(command, options):
            raise UsageError(
                f"The files of {tree.part.name!r} in {tree.root} would be replaced.",
                unchanged="Nothing was changed.",
                hint="Run on a terminal and type the name of the tree, or give --noinput.",
            )
        _require_name(f"Type the name of the tree to replace its files ({tree.part.name}): ", tree.part.name)


def confirm_database(command: BackupCommand, options: dict[str, Any], name: str) -> None:
    """Ask for the name of a database that will be replaced, unless ``--database-name`` gave it."""
    if name in options["database_name"]:
        return
    if not _can_ask(command, options):
        raise UsageError(
            f"The database {name!r} is not empty and would be replaced.",
            unchanged="Nothing was changed.",
            hint="Run on a terminal and type its name, or give --noinput --database-name"
            f" {shlex.quote(name)}.",
        )
    _require_name(f"Type the name of the database to replace it ({name}): ", name)


def confirm_purge(command: BackupCommand, options: dict[str, Any], waiting: int) -> None:
    """Ask before the tasks that wait in the broker are discarded."""
    if not options["interactive"]:
        return
    if not _can_ask(command, options):
        raise UsageError(
            "The tasks that wait in the broker would be discarded.",
            unchanged="Nothing was changed.",
            hint="Run on a terminal and type purge, or give --noinput.",
        )
    tasks = count_in_words(waiting, "task")
    if ask(f"Type purge to discard the tasks in the queues ({tasks} now): ") != "purge":
        raise UsageError(
            "The word purge was not typed.", unchanged="Nothing was changed.", hint="Run the command again."
        )


def _can_ask(command: BackupCommand, options: dict[str, Any]) -> bool:
    return bool(options["interactive"]) and not command.json and sys.stdin.isatty()


def _require_name(question: str, name: str) -> None:
    if ask(question) != name:
        raise UsageError(
            f"The name {name} was not typed.", unchanged="Nothing was changed.", hint="Run the command again."
        )
