"""Ask for confirmation before data is replaced or deleted: the operator types a name or a word."""

from __future__ import annotations

import shlex
import sys
from typing import Any

from igny8_backup.common.humanize import count_in_words, listed
from igny8_backup.errors import UsageError
from igny8_backup.management.base import BackupCommand
from igny8_backup.operations.restore.planning.plan import RestorePlan
from igny8_backup.operations.selection import BasePlan
from igny8_backup.operations.undo.copies import DATABASE
from igny8_backup.operations.undo.plan import UndoPlan

VULNERABLE = "vulnerable"
"""The word that confirms the use of a program with known security holes."""


def confirm(command: BackupCommand, plan: RestorePlan, options: dict[str, Any]) -> None:
    """Ask the operator to confirm what a restore will replace. Raises :class:`UsageError` for a refusal.

    The operator confirms that programs with known security holes will be used, and types the name of each
    database that will be replaced. If no database will be replaced, the operator types the name of each tree
    that is not empty. If tasks in the broker are to be discarded, the operator confirms that too. With
    ``--noinput``, ``--database-name`` confirms each database.
    """
    confirm_vulnerable(command, plan, options)
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


def confirm_vulnerable(command: BackupCommand, plan: BasePlan, options: dict[str, Any]) -> None:
    """Ask whether to use programs with known security holes, unless ``--allow-vulnerable-tools`` says so.

    Raises :class:`UsageError` if the word is not typed, or if nobody can be asked.
    """
    if not plan.vulnerable or options["allow_vulnerable_tools"]:
        return
    names = listed([f"{item.program} {item.version}" for item in plan.vulnerable])
    holes = ", ".join(dict.fromkeys(cve for item in plan.vulnerable for cve in item.cves))
    require_typed(
        command,
        options,
        VULNERABLE,
        question=f"Type {VULNERABLE} to restore with {names} all the same ({holes}): ",
        what=f"Restoring a backup that is not signed with {names}, whose security holes are known ({holes}),",
        unasked="--allow-vulnerable-tools, if you trust the storage. Better: upgrade what the plan names",
    )


def confirm_vanishing(command: BackupCommand, plan: UndoPlan, options: dict[str, Any]) -> None:
    """Ask the operator to confirm that an undo or redo leaves databases missing or trees empty.

    The operator types the name of each such database or, if there is none, of each such tree. With
    ``--noinput``, ``--database-name`` confirms each database. Raises :class:`UsageError` for a refusal.
    """
    databases = [item for item in plan.vanishing if item.kind == DATABASE]
    for item in databases:
        if item.place not in options["database_name"]:
            question = f"Type the name of the database that will be missing afterwards ({item.place}): "
            what = f"Leaving the application without the database {item.place!r}"
            unasked = f"--noinput --database-name {shlex.quote(item.place)}"
            require_typed(command, options, item.place, question=question, what=what, unasked=unasked)
    if databases or not options["interactive"]:
        return
    for item in plan.vanishing:
        question = f"Type the name of the tree that will be empty afterwards ({item.name}): "
        what = f"Leaving the tree {item.name!r} in {item.place} without files"
        require_typed(command, options, item.name, question=question, what=what)


def confirm_purge(command: BackupCommand, options: dict[str, Any], waiting: int) -> None:
    """Ask whether to discard the ``waiting`` tasks in the broker, unless ``--noinput`` was given.

    Raises :class:`UsageError` if the word purge is not typed, or if nobody can be asked.
    """
    if options["interactive"]:
        question = f"Type purge to discard the tasks in the queues ({count_in_words(waiting, 'task')} now): "
        what = "Discarding the tasks that wait in the broker"
        require_typed(command, options, "purge", question=question, what=what)


def confirm_removal(command: BackupCommand, number: int) -> None:
    """Ask the operator to confirm that ``number`` backups are removed. No option confirms it.

    Raises :class:`UsageError` for a refusal, or if nobody can be asked.
    """
    word = f"remove {number}"
    if command.json or not sys.stdin.isatty():
        raise UsageError(
            f"Removing {count_in_words(number, 'untrusted backup')} needs a confirmation.",
            unchanged="Nothing was removed.",
            hint=f"Run the command on a terminal without --json, and type {word}. If the backups are"
            " yours and only their key is missing in TRUSTED, add the key instead.",
        )
    if ask(f"Type {word} to remove these backups for ever: ") != word:
        raise UsageError(f"The confirmation {word!r} was not typed.", unchanged="Nothing was removed.")


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


def ask(question: str) -> str:
    """Ask a question on the terminal; return the answer, empty at the end of input."""
    try:
        return input(question)
    except EOFError:
        return ""
