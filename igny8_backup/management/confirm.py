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
    """Ask for everything that a restore must have confirmed. Raises :class:`UsageError` for a refusal.

    The operator types the name of each database that will be replaced. If none will be, the operator types
    the name of each tree that is not empty. With ``--noinput``, ``--database-name`` confirms each database.
    """
    for name in plan.replaces:
        confirm_database(command, options, name)
    if plan.policy.purge:
        confirm_purge(command, options, plan.workers.waiting)
    if plan.replaces or not options["interactive"]:
        return
    for tree in (tree for tree in plan.trees if not tree.empty):
        if not _can_ask(command, options):
            raise UsageError(
                f"The files of {tree.part.name!r} in {tree.root} would be replaced.",
                hint="Type the name of the tree on a terminal, or give --noinput.",
            )
        _require_name(f"Type the name of the tree to replace its files ({tree.part.name}): ", tree.part.name)


def confirm_database(command: BackupCommand, options: dict[str, Any], name: str) -> None:
    """Ask for the name of a database that will be replaced, unless ``--database-name`` confirms it.

    Raises :class:`UsageError` if the name is not typed, or if nobody can be asked.
    """
    if name in options["database_name"]:
        return
    if not _can_ask(command, options):
        raise UsageError(
            f"The database {name!r} is not empty and would be replaced.",
            hint=f"Type its name on a terminal, or give --noinput --database-name {shlex.quote(name)}.",
        )
    _require_name(f"Type the name of the database to replace it ({name}): ", name)


def confirm_purge(command: BackupCommand, options: dict[str, Any], waiting: int) -> None:
    """Ask whether to discard the ``waiting`` tasks in the broker, unless ``--noinput`` was given.

    Raises :class:`UsageError` if the word purge is not typed, or if nobody can be asked.
    """
    if not options["interactive"]:
        return
    if not _can_ask(command, options):
        raise UsageError(
            "The tasks that wait in the broker would be discarded.",
            hint="Type purge on a terminal, or give --noinput.",
        )
    tasks = count_in_words(waiting, "task")
    if ask(f"Type purge to discard the tasks in the queues ({tasks} now): ") != "purge":
        raise UsageError("The word purge was not typed.", hint="Run the command again.")


def _can_ask(command: BackupCommand, options: dict[str, Any]) -> bool:
    return bool(options["interactive"]) and not command.json and sys.stdin.isatty()


def _require_name(question: str, name: str) -> None:
    if ask(question) != name:
        raise UsageError(f"The name {name} was not typed.", hint="Run the command again.")
