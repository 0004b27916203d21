"""Restore a dump into the live database itself, in one transaction.

``pg_restore`` converts the dump to a script, which ``psql`` runs. ``psql`` receives ``COMMIT`` only after the
complete script has run, ``pg_restore`` has succeeded, the digest of the stored dump is right and the checks
have passed. After any earlier failure, even ``kill -9`` of one of the programs, the session ends without
``COMMIT`` and the server rolls back.
"""

from __future__ import annotations

import re
from contextlib import ExitStack, closing
from pathlib import Path

from igny8_backup.databases.postgresql.client_access import client_access, client_environment
from igny8_backup.databases.postgresql.clients import find_client
from igny8_backup.databases.postgresql.connection import Connection
from igny8_backup.databases.postgresql.in_place.clear_sql import LOCK_SECONDS, check_script, clear_script
from igny8_backup.databases.postgresql.restore.archive_toc import (
    is_event_trigger,
    joined,
    read_contents,
    use_list,
)
from igny8_backup.databases.redact import without_values
from igny8_backup.databases.values import RestoreSelection
from igny8_backup.errors import ToolError, ToolTooOldError, UnfinishedError
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.streams import Blocks
from igny8_backup.streams.private_file import private_file
from igny8_backup.streams.process import feed_process, filtered

# The beginning and the end of a script of pg_restore --single-transaction. Since the minor releases of August
# 2025 scripts disable psql's own commands (\\restrict). Without that, a name in a dump could make psql run a
# program on this machine.
_BEGINNING = re.compile(rb"\A\s*--\n-- PostgreSQL database dump\n--\s+\\restrict \w+\n")
_END = re.compile(rb"\nCOMMIT;\n+--\n-- PostgreSQL database dump complete\n--\n+(\\unrestrict \w+\n)\s*\Z")
_HELD_BACK = 1024  # bytes, more than _END matches

_STATEMENT_FAILED = 3
"""The exit status of psql after the server refused a statement, which may be COMMIT: all was rolled back.

Source: PostgreSQL docs, psql, Exit Status.
"""


def restore_in_place(
    live: Connection,
    blocks: Blocks,
    details: DatabaseDetails,
    *,
    selection: RestoreSelection,
    scratch: Path,
    bin_dir: Path | None,
    lock_seconds: float = LOCK_SECONDS,
) -> tuple[str, ...]:
    """Replace the contents of the live database by the dump ``blocks``, or change nothing.

    ``lock_seconds`` is the time limit for each table lock. Temporary files are written in ``scratch``.
    Returns the labels of the event triggers, which are left out. Raises :class:`UnfinishedError` if it is
    unknown whether the server committed. After ``ToolError``, ``IntegrityError``, ``FilesError`` and
    exceptions of ``blocks`` nothing was changed.
    """
    with closing(blocks), ExitStack() as stack:
        with live.open() as session:
            major = session.server_version // 10000
        pg_restore = find_client("pg_restore", server_major=major, bin_dir=bin_dir)
        psql = find_client("psql", server_major=major, bin_dir=bin_dir)
        head, entries = read_contents(blocks, pg_restore.path)
        restored = use_list(entry for entry in entries if not is_event_trigger(entry))
        file, path = stack.enter_context(private_file(scratch, restored))
        # psql has no option --role; the script sets the role.
        access = stack.enter_context(client_access(Connection(live.params, alias=live.alias), scratch))
        convert = [str(pg_restore.path), "--file=-", "--single-transaction", "--no-subscriptions"]
        convert += [f"--use-list={path}", *(() if selection.owners else ("--no-owner", "--no-privileges"))]
        script = filtered(joined(head, blocks), convert, env=client_environment(), pass_fds=[file.fileno()])
        commit_sent = False

        def transaction() -> Blocks:
            nonlocal commit_sent
            with closing(script):
                yield clear_script(live.role, lock_seconds)
                yield from without_commit(script)
            yield check_script(details)
            commit_sent = True
            yield b"COMMIT;\n"

        run = [
            str(psql.path),
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--file=-",
            *access.arguments,
        ]
        try:
            feed_process(
                [*run, "--output=/dev/null"], transaction(), env=access.env, pass_fds=access.pass_fds
            )
        except BaseException as error:
            refused = isinstance(error, ToolError) and error.exit_status_of_tool == _STATEMENT_FAILED
            if commit_sent and not refused:
                raise _unfinished(error) from error
            if isinstance(error, ToolError):
                raise _with_hint(error) from None
            raise
    return tuple(entry.label for entry in entries if entry.label.startswith("EVENT TRIGGER "))


def without_commit(script: Blocks) -> Blocks:
    """Yield a script of ``pg_restore`` without its ``COMMIT``, so that checks can follow.

    Raises :class:`ToolTooOldError` if the script does not disable the backslash commands of psql (with
    ``\\restrict``), and ``ToolError`` if the script does not end with ``COMMIT``.
    """
    held = b""
    checked = False
    with closing(script):
        for block in script:
            held += block
            if len(held) > _HELD_BACK:
                checked = checked or _require_restricted(held)
                yield held[:-_HELD_BACK]
                held = held[-_HELD_BACK:]
    checked = checked or _require_restricted(held)
    end = _END.search(held)
    if end is None:
        raise ToolError(
            "The script of pg_restore does not end with COMMIT.",
            unchanged="Nothing was changed.",
            hint="Report this as a bug, with the version of pg_restore.",
        )
    yield held[: end.start() + 1] + end[1]


def _unfinished(error: BaseException) -> UnfinishedError:
    return UnfinishedError(
        "The connection to the server was lost while the restore was committed:"
        f" {without_values(str(error)) or 'interrupted'}",
        unchanged="The database is either unchanged or completely restored.",
        hint="When the server answers, run the same command again. It works in both cases.",
    )


def _with_hint(error: ToolError) -> ToolError:
    hint = "Remove the cause that PostgreSQL reports, then run again."
    if "lock timeout" in error.stderr_tail or "deadlock" in error.stderr_tail:
        hint = "Stop what uses the tables (the application, its workers, open shells), then run again."
    return type(error)(
        without_values(error.what),
        unchanged="Everything was rolled back: the database was not changed.",
        hint=hint,
        stderr_tail=without_values(error.stderr_tail),
        exit_status_of_tool=error.exit_status_of_tool,
    )


def _require_restricted(beginning: bytes) -> bool:
    """Return true if the script disables psql's own commands, else raise :class:`ToolTooOldError`."""
    if not _BEGINNING.match(beginning):
        raise ToolTooOldError(
            "This pg_restore writes scripts with which a dump could run programs on this machine.",
            unchanged="Nothing was changed.",
            hint="Install a minor release of the PostgreSQL client of August 2025 or later.",
        )
    return True
