"""Restore a dump into the live database itself, in one transaction.

``pg_restore`` converts the dump to a script, which ``psql`` runs. ``psql`` receives ``COMMIT`` only after the
complete script has run, ``pg_restore`` has succeeded, the digest of the stored dump is right and the checks
have passed. After any earlier failure, even ``kill -9`` of one of the programs, the session ends without
``COMMIT`` and the server rolls back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from igny8_backup.databases.postgresql.client_access import client_access
from igny8_backup.databases.postgresql.clients import find_client
from igny8_backup.databases.postgresql.connections.connection import Connection
from igny8_backup.databases.postgresql.in_place.clear_sql import (
    LOCK_SECONDS,
    check_script,
    clear_script,
    run_script,
)
from igny8_backup.databases.postgresql.in_place.scripts import Scripts
from igny8_backup.databases.postgresql.restore.archive.left_out import (
    require_harmless,
    select_all,
    unusable_tablespaces,
    without_unknown_labels,
)
from igny8_backup.databases.postgresql.restore.archive.steps import divide, row_entries
from igny8_backup.databases.postgresql.restore.archive.toc import read_contents
from igny8_backup.databases.postgresql.restore.grants import Grants, separate_grants
from igny8_backup.databases.postgresql.restore.schemas import schemas_script
from igny8_backup.databases.postgresql.roles.membership import reachable_roles
from igny8_backup.databases.redact import without_values
from igny8_backup.databases.values import RestoreSelection
from igny8_backup.errors import ToolError, UnfinishedError
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.streams import Blocks
from igny8_backup.streams.account import Account
from igny8_backup.streams.process import feed_process

# "psql:<stdin>:3: ERROR:  55P03: canceling statement due to lock timeout", in any language, and at its end
# "LOCATION:  ProcessInterrupts, postgres.c:3318".
_SQLSTATE = re.compile(r"(\bpsql:\S+:\d+: [^\W\d_]+ ?:  )([0-9A-Z]{5}): ")
_LOCATION = re.compile(r"\n[^\W\d_]+ ?:  \w+, [\w.]+:\d+$", re.MULTILINE)
_STOP_USERS = "Stop what uses the tables (the application, its workers, open shells), then run again."
_HINTS = {
    "55P03": _STOP_USERS,  # lock timeout
    "40P01": _STOP_USERS,  # deadlock
    "53200": "Raise max_locks_per_transaction or the memory of the server, restart it, then run again.",
}

_STATEMENT_FAILED = 3
"""The exit status of psql if the server refused any statement, COMMIT included.

The server has then rolled back the transaction. Source: PostgreSQL docs, psql, Exit Status.
"""


def restore_in_place(
    live: Connection,
    blocks: Blocks,
    details: DatabaseDetails,
    *,
    selection: RestoreSelection,
    scratch: Path,
    bin_dir: Path | None,
    run_as: Account | None = None,
    lock_seconds: float = LOCK_SECONDS,
    data: Sequence[Blocks] = (),
) -> tuple[str, ...]:
    """Replace the contents of the live database with the dump ``blocks``, or change nothing.

    ``data`` are the data archives of the dump, ``selection`` is the part of the dump to restore.
    ``lock_seconds`` is the time limit for each table lock. Temporary files are written in ``scratch``.
    Returns the labels of the entries that are left out, such as event triggers. Raises
    :class:`UnfinishedError` if it is unknown whether the server committed. After ``ToolError``,
    ``IntegrityError``, ``FilesError`` and exceptions of ``blocks`` nothing was changed.
    """
    with closing(blocks), ExitStack() as stack:
        with live.open() as session:
            major = session.server_version // 10000
            contents = read_contents(blocks)
            if selection.untrusted:
                require_harmless(contents.entries)
            selected = select_all(contents.entries, reachable_roles(session))
            selected = without_unknown_labels(session, selected)
            tablespaces = unusable_tablespaces(session, selected.entries)
            grants = Grants(selected.entries)
            if selection.owners:
                grants = separate_grants(session, selected.entries)
        pg_restore = find_client("pg_restore", server_major=major, bin_dir=bin_dir)
        psql = find_client("psql", server_major=major, bin_dir=bin_dir)
        # psql has no option --role; the script sets the role.
        access = stack.enter_context(client_access(live.without_role(), scratch, run_as))
        convert = [str(pg_restore.path), "--file=-", "--single-transaction", "--no-subscriptions"]
        convert += [] if selection.owners else ["--no-owner", "--no-privileges"]
        convert += ["--no-tablespaces"] * bool(tablespaces)
        scripts = Scripts(tuple(convert), scratch, run_as)
        steps = divide(grants.entries, jobs=1, data=bool(data))
        commit_sent = False

        def transaction() -> Blocks:
            nonlocal commit_sent
            yield clear_script(live.role, lock_seconds) + run_script(grants.before)
            yield from scripts.of_contents(contents, steps.first)
            for archive in data:
                rows = read_contents(archive)
                if selection.untrusted:
                    require_harmless(rows.entries)
                yield from scripts.of_archive(rows, archive, row_entries(rows.entries, selected))
            # A function may check these rows, and read others: see dump.placement.
            yield from scripts.of_archive(contents, blocks, steps.streamed)
            yield from scripts.of_contents(contents, steps.late)
            yield run_script(grants.after)
            yield schemas_script(details.schemas).encode() + check_script(details)
            commit_sent = True
            yield b"COMMIT;\n"

        run = [
            str(psql.path),
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--set=VERBOSITY=verbose",  # with the SQLSTATE, because messages may be in any language
            "--file=-",
            *access.arguments,
        ]
        try:
            feed_process(
                [*run, "--output=/dev/null"],
                transaction(),
                env=access.env,
                pass_fds=access.pass_fds,
                run_as=run_as,
            )
        except BaseException as error:
            refused = isinstance(error, ToolError) and error.exit_status_of_tool == _STATEMENT_FAILED
            if commit_sent and not refused:
                raise _unfinished(error) from error
            if isinstance(error, ToolError):
                raise _with_hint(error) from None
            raise
    return (*selected.left_out, *tablespaces)


def _unfinished(error: BaseException) -> UnfinishedError:
    return UnfinishedError(
        "The connection to the server was lost while the restore was committed:"
        f" {without_values(str(error)) or 'interrupted'}",
        unchanged="The database is either unchanged or completely restored.",
        hint="When the server answers, run the same command again. It works in both cases.",
    )


def _with_hint(error: ToolError) -> ToolError:
    states = [match[2] for match in _SQLSTATE.finditer(error.stderr_tail)]
    general = "Remove the cause that PostgreSQL reports, then run again."
    return type(error)(
        without_values(_plain(error.what)),
        unchanged="Everything was rolled back: the database was not changed.",
        # The last message is the error; warnings precede it.
        hint=_HINTS.get(states[-1] if states else "", general),
        stderr_tail=without_values(_plain(error.stderr_tail)),
        exit_status_of_tool=error.exit_status_of_tool,
    )


def _plain(message: str) -> str:
    """Remove the SQLSTATE and the field LOCATION, which psql adds to verbose messages."""
    return _SQLSTATE.sub(r"\1", _LOCATION.sub("", message))
