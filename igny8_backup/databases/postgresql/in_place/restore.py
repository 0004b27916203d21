"""A dump put into the live database itself, in one transaction: for roles that may not create databases.

``pg_restore`` writes the dump as a script and ``psql`` carries it out. ``psql`` is told ``COMMIT`` only when
all of the script has come, ``pg_restore`` has ended well, the digest of what was stored is right and the
checks have passed. Whatever happens before, a ``kill -9`` of any of the programs too, ends the session
without it, and the server rolls back.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from igny8_backup.databases.postgresql.client_access import client_access, client_environment
from igny8_backup.databases.postgresql.clients import find_client
from igny8_backup.databases.postgresql.connection import Connection
from igny8_backup.databases.postgresql.in_place.clear_sql import LOCK_SECONDS, clearing, finishing
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

# What a script begins and ends with under --single-transaction. From the minor releases of August 2025 on it
# bars psql's own commands (\\restrict): without, a name in a dump could make psql run a program here.
_BEGINNING = re.compile(rb"\A\s*--\n-- PostgreSQL database dump\n--\s+\\restrict \w+\n")
_END = re.compile(rb"\nCOMMIT;\n+--\n-- PostgreSQL database dump complete\n--\n+(\\unrestrict \w+\n)\s*\Z")
_HELD_BACK = 1024

_STATEMENT_FAILED = 3
"""How psql ends when the server refused a statement, COMMIT itself too (PostgreSQL docs, psql, Exit
Status): all was rolled back, though COMMIT may have been on its way already."""


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
    """Replaces all that is in the database by what is in the dump, or changes nothing. Returns what was left
    out, in words. ``lock_seconds``: how long to wait for a session of the application that holds a table.

    Raises ``ToolError``, ``IntegrityError``, ``FilesError`` and what ``blocks`` raises, with nothing changed;
    :class:`UnfinishedError` where nobody can tell whether the server committed.
    """
    with closing(blocks), ExitStack() as stack:
        with live.open() as session:
            major = session.info.server_version // 10000
        pg_restore = find_client("pg_restore", server_major=major, bin_dir=bin_dir)
        psql = find_client("psql", server_major=major, bin_dir=bin_dir)
        head, entries = read_contents(blocks, pg_restore.path)
        file, path = stack.enter_context(private_file(scratch))
        file.write(use_list(entry for entry in entries if not is_event_trigger(entry)))
        file.flush()
        # psql knows no --role: the script assumes it.
        access = stack.enter_context(client_access(Connection(live.params, alias=live.alias), scratch))
        restoring = [
            *(str(pg_restore.path), "--file=-", "--single-transaction", "--no-subscriptions"),
            *(f"--use-list={path}", *(() if selection.owners else ("--no-owner", "--no-privileges"))),
        ]
        script = filtered(joined(head, blocks), restoring, env=client_environment(), pass_fds=[file.fileno()])
        state = _Committing()
        try:
            feed_process(
                [
                    *(str(psql.path), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-"),
                    *("--output=/dev/null", *access.arguments),
                ],
                _one_transaction(script, clearing(live.role, lock_seconds), details, state.begins),
                env=access.env,
                pass_fds=access.pass_fds,
            )
        except ToolError as error:
            if state.begun and error.exit_status_of_tool != _STATEMENT_FAILED:
                raise _unknown(error) from error
            raise _explained(error) from None
        except BaseException as error:
            if state.begun:
                raise _unknown(error) from error
            raise
    return tuple(entry.words for entry in entries if entry.words.startswith("EVENT TRIGGER "))


class _Committing:
    """Whether ``COMMIT`` may have been sent."""

    def __init__(self) -> None:
        self.begun = False

    def begins(self) -> None:
        self.begun = True


def _one_transaction(
    script: Blocks, beginning: bytes, details: DatabaseDetails, commits: Callable[[], None]
) -> Blocks:
    with closing(script):
        yield beginning
        yield from without_commit(script)
    yield finishing(details)
    commits()
    yield b"COMMIT;\n"


def without_commit(script: Blocks) -> Blocks:
    """The script but for its own ``COMMIT``, its last command: it stands where not all is known to be well.

    Raises :class:`ToolTooOldError` where the script lets psql's own commands in, ``ToolError`` where it does
    not end as it must.
    """
    held = b""
    begun = False
    with closing(script):
        for block in script:
            held += block
            if len(held) > _HELD_BACK:
                begun = begun or _require_restricted(held)
                yield held[:-_HELD_BACK]
                held = held[-_HELD_BACK:]
    begun = begun or _require_restricted(held)
    end = _END.search(held)
    if end is None:
        raise ToolError("pg_restore did not end its script as it should.", hint="Report this as a fault.")
    yield held[: end.start() + 1] + end[1]


def _unknown(error: BaseException) -> UnfinishedError:
    return UnfinishedError(
        f"The server fell silent while the restore was committed: {without_values(str(error)) or 'stopped'}",
        unchanged="The database is the old one or the whole restored one.",
        hint="When the server answers, run the same command again: it replaces either of them.",
    )


def _explained(error: ToolError) -> ToolError:
    hint = "Mend what is complained of, then run again."
    if "lock timeout" in error.stderr_tail or "deadlock" in error.stderr_tail:
        hint = "Stop what holds the tables (the application, its workers, open shells), then run again."
    return type(error)(
        without_values(str(error)),
        unchanged="All of it was rolled back: the database is as it was.",
        hint=hint,
        stderr_tail=without_values(error.stderr_tail),
        exit_status_of_tool=error.exit_status_of_tool,
    )


def _require_restricted(beginning: bytes) -> bool:
    if not _BEGINNING.match(beginning):
        raise ToolTooOldError(
            "This pg_restore writes scripts that let a dump run programs on this machine.",
            unchanged="Nothing was changed.",
            hint="Install the newest minor release of the PostgreSQL client; those of August 2025 and later"
            " will do.",
        )
    return True
