"""Restore a dump into a staging database with ``pg_restore``.

With several jobs ``pg_restore`` reads a scratch file, with one job it reads the stream.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from igny8_backup.databases.postgresql.client_access import Access, client_access
from igny8_backup.databases.postgresql.clients import Client, find_client
from igny8_backup.databases.postgresql.connection import Connection
from igny8_backup.databases.postgresql.hints import hint_for, one_line
from igny8_backup.databases.postgresql.restore.archive_toc import (
    Entry,
    is_event_trigger,
    joined,
    list_post_data,
    list_unique,
    read_contents,
    use_list,
)
from igny8_backup.databases.postgresql.restore.split_phases import split_phases
from igny8_backup.databases.postgresql.restore.tables import TableSelection, select_tables
from igny8_backup.databases.redact import without_values
from igny8_backup.databases.values import SCRATCH_MARGIN, WHOLE, RestoreSelection
from igny8_backup.errors import FilesError, ToolError
from igny8_backup.streams import Blocks, stderr_tail
from igny8_backup.streams.pipeline import write_file
from igny8_backup.streams.private_file import private_file
from igny8_backup.streams.process import feed_process, run_process

# pg_restore 17 and later set transaction_timeout, which older servers do not know.
_NEW_SETTING_MAJOR = 17
_REFUSED_SETTING = re.compile(
    r"^[^\n]*transaction_timeout[^\n]*\nCommand was: SET transaction_timeout = 0;\s*", re.MULTILINE
)


def load(
    staging: Connection,
    blocks: Blocks,
    *,
    raw_bytes: int,
    scratch: Path,
    jobs: int,
    bin_dir: Path | None,
    selection: RestoreSelection = WHOLE,
) -> tuple[str, ...]:
    """Restore the dump ``blocks`` into ``staging``. Return the labels of the entries that were left out.

    With several ``jobs``, the dump is first stored in the folder ``scratch``, because parallel jobs seek in
    it. If ``scratch`` lacks space for ``raw_bytes``, one job reads the stream instead, and no plaintext is
    written to disk. Raises ``ToolError``, ``IntegrityError``, ``FilesError`` and the exceptions of
    ``blocks``.
    """
    with closing(blocks), ExitStack() as stack:
        with staging.open() as session:
            server_major = session.server_version // 10000
        program = find_client("pg_restore", server_major=server_major, bin_dir=bin_dir)
        head, entries = read_contents(blocks, program.path)
        selected = _select(entries, selection)
        access = stack.enter_context(client_access(staging, scratch))
        argv = _argv(program, access, server_major, selection)
        # Several jobs interleave their errors on stderr, and _only_setting_refused() could not parse them.
        jobs = 1 if _sends_unknown_setting(program, server_major) else jobs
        try:
            if jobs > 1 and _free_bytes(scratch) > raw_bytes + SCRATCH_MARGIN:
                _load_from_scratch(argv, joined(head, blocks), selected.entries, access, scratch, jobs)
            else:
                fds = access.pass_fds
                if len(selected.entries) < len(entries):
                    option, fd = stack.enter_context(_use_list_option(selected.entries, scratch))
                    argv, fds = [*argv, option], (*fds, fd)
                stream = joined(head, blocks)
                feed_process(argv, stream, env=access.env, pass_fds=fds, reads_all=not selection.tables)
        except ToolError as error:
            if not (_sends_unknown_setting(program, server_major) and _only_setting_refused(error)):
                raise _with_hint(error, staging.alias) from None
    return selected.left_out


def _select(entries: Sequence[Entry], selection: RestoreSelection) -> TableSelection:
    if selection.tables:
        return select_tables(entries, selection.tables, selection.table_owners)
    # Event triggers are left out, because they would fire during migrations of the staging database.
    return TableSelection(
        entries=tuple(entry for entry in entries if not is_event_trigger(entry)),
        left_out=tuple(entry.label for entry in entries if entry.label.startswith("EVENT TRIGGER ")),
    )


def _argv(program: Client, access: Access, server_major: int, selection: RestoreSelection) -> list[str]:
    # Subscriptions are left out, because they would use the replication slot of the live database.
    argv = [str(program.path), "--no-subscriptions", *access.arguments]
    if not selection.owners:
        argv += ["--no-owner", "--no-privileges"]
    return argv if _sends_unknown_setting(program, server_major) else [*argv, "--exit-on-error"]


@contextmanager
def _use_list_option(entries: Iterable[Entry], scratch: Path) -> Iterator[tuple[str, int]]:
    """Yield the option with which ``pg_restore`` restores only ``entries``.

    Also yield the descriptor of the list file, which ``pg_restore`` must inherit.
    """
    with private_file(scratch, use_list(entries)) as (file, path):
        yield f"--use-list={path}", file.fileno()


def _load_from_scratch(
    argv: list[str], blocks: Blocks, entries: Sequence[Entry], access: Access, scratch: Path, jobs: int
) -> None:
    with private_file(scratch) as (file, path):
        try:
            write_file(blocks, file.fileno(), name=f"the dump to {scratch}")
        except FilesError as error:
            raise FilesError(
                error.what,
                unchanged="The live database was not changed.",
                hint="Set IGNY8_BACKUP['SCRATCH_DIR'] to a folder on a larger disk, or set JOBS to 1, which"
                " needs no scratch space.",
            ) from None
        # Each job opens the archive by its path, for which it must inherit the descriptor.
        fds = (*access.pass_fds, file.fileno())
        listings = [read(path, Path(argv[0]), pass_fds=fds) for read in (list_post_data, list_unique)]
        for phase in split_phases(entries, *listings):
            with _use_list_option(phase, scratch) as (option, fd):
                run_process([*argv, option, f"--jobs={jobs}", path], env=access.env, pass_fds=(*fds, fd))


def _free_bytes(folder: Path) -> int:
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def _sends_unknown_setting(program: Client, server_major: int) -> bool:
    return program.major >= _NEW_SETTING_MAJOR > server_major


def _only_setting_refused(error: ToolError) -> bool:
    """Return whether the server refused only a setting that a newer ``pg_restore`` sends.

    Such a setting is unknown to the older server. Then ``pg_restore``, which ran without ``--exit-on-error``,
    has restored everything and ended with status 1. Return false if stderr was shortened, because the missing
    part could contain another error.
    """
    complete = len(error.stderr_tail.encode()) < stderr_tail.HEAD + stderr_tail.TAIL - 64
    rest = _REFUSED_SETTING.sub("", error.stderr_tail)
    ended = re.search(r"^pg_restore: warning: errors ignored on restore: \d+\Z", rest, re.MULTILINE)
    return complete and error.exit_status_of_tool == 1 and bool(ended) and "pg_restore: error:" not in rest


def _with_hint(error: ToolError, alias: str) -> ToolError:
    """Return a copy of the error of ``pg_restore``, on one line, with a hint and without values of rows."""
    stderr = _REFUSED_SETTING.sub("", error.stderr_tail)
    text = error.what.replace(error.stderr_tail, stderr) if stderr else error.what
    general = "Remove the cause that pg_restore reports, or restore to a server like the one that was dumped."
    return type(error)(
        one_line(text),
        unchanged="The live database was not changed.",
        hint=hint_for(text, alias=alias) or general,
        stderr_tail=without_values(error.stderr_tail),
        exit_status_of_tool=error.exit_status_of_tool,
    )
