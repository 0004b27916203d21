"""Ask for confirmation before data is replaced or deleted: the operator types a name or a word."""

from __future__ import annotations

import shlex
import sys
from typing import Any

from igny8_backup.errors import UsageError
from igny8_backup.humanize import count_in_words
from igny8_backup.management.base import BackupCommand, ask
from igny8_backup.operations.restore.plan import RestorePlan


def confirm(command: BackupCommand, plan: RestorePlan, options: dict[str, Any]) -> None:
    """Ask the operator to confirm what a restore will replace. Raises :class:`UsageError` for a refusal.

    The operator types the name of each database that will be replaced. If none will be, the operator types
    the name of each tree that is not empty. With ``--noinput``, ``--database-name`` confirms each database.
    """
    for name in plan.replaces:
        confirm_database(command, options, name)
    if plan.policy.purge:
        confirm_purge(command, options, plan.workers.waiting)
    if plan.replaces or not options["interactive"]:
        return
    for tree in plan.trees:
        if not tree.empty:
            name = tree.part.name
            what = f"Replacing the files of {name!r} in {tree.root}"
            question = f"Type the name of the tree to replace its files ({name}): "
            require_typed(command, options, name, question=question, what=what)


def confirm_database(command: BackupCommand, options: dict[str, Any], name: str) -> None:
    """Ask for the name of a database that will be replaced, unless ``--database-name`` confirms it.

    Raises :class:`UsageError` if the name is not typed, or if nobody can be asked.
    """
    if name not in options["database_name"]:
        question = f"Type the name of the database to replace it ({name}): "
        what, unasked = f"Replacing the database {name!r}", f"--noinput --database-name {shlex.quote(name)}"
        require_typed(command, options, name, question=question, what=what, unasked=unasked)


def confirm_purge(command: BackupCommand, options: dict[str, Any], waiting: int) -> None:
    """Ask whether to discard the ``waiting`` tasks in the broker, unless ``--noinput`` was given.

    Raises :class:`UsageError` if the word purge is not typed, or if nobody can be asked.
    """
    if options["interactive"]:
        question = f"Type purge to discard the tasks in the queues ({count_in_words(waiting, 'task')} now): "
        what = "Discarding the tasks that wait in the broker"
        require_typed(command, options, "purge", question=question, what=what)


def require_typed(
    command: BackupCommand,
    options: dict[str, Any],
    word: str,
    *,
    question: str,
    what: str,
    unasked: str = "--noinput",
) -> None:
    """Raise :class:`UsageError` unless the operator answers ``question`` with ``word``.

    Nobody can be asked with ``--noinput``, with ``--json`` or without a terminal. ``what`` names the step
    to confirm, ``unasked`` the options that confirm it without a question.
    """
    if not options["interactive"] or command.json or not sys.stdin.isatty():
        hint = f"Type {word} on a terminal, or give {unasked}."
        raise UsageError(f"{what} needs a confirmation.", hint=hint)
    if ask(question) != word:
        raise UsageError(f"The confirmation {word} was not typed.", hint="Run the command again.")
