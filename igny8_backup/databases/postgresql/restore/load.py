"""``pg_restore`` into a side database: from scratch with several jobs, or from the stream."""

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
from igny8_backup.databases.postgresql.restore.tables import TableSelection, take_tables
from igny8_backup.databases.redact import without_values
from igny8_backup.databases.values import SCRATCH_MARGIN, WHOLE, RestoreSelection
from igny8_backup.errors import FilesError, ToolError
from igny8_backup.streams import Blocks
from igny8_backup.streams import stderr as said
from igny8_backup.streams.pipeline import write_file
from igny8_backup.streams.private_file import private_file
from igny8_backup.streams.process import feed_process, run_process

# From 17 on pg_restore sends this setting, which older servers refuse.
_NEW_SETTING_MAJOR = 17
_REFUSED_SETTING = re.compile(
    r"^[^\n]*transaction_timeout[^\n]*\nCommand was: SET transaction_timeout = 0;\s*", re.MULTILINE
)


def load(
    side: Connection,
    blocks: Blocks,
    *,
    raw_bytes: int,
    scratch: Path,
    jobs: int,
    bin_dir: Path | None,
    selection: RestoreSelection = WHOLE,
) -> tuple[str, ...]:
    """``pg_restore`` into ``side``; returns what was left out, as ``pg_restore`` lists it.

    Several jobs need a file to seek in: the dump goes to private scratch that has no name where the system
    allows. Where ``scratch`` lacks the room, one job reads the stream, and nothing touches a disk.
    """
    with closing(blocks), ExitStack() as stack:
        with side.open() as session:
            server_major = session.info.server_version // 10000
        program = find_client("pg_restore", server_major=server_major, bin_dir=bin_dir)
        head, entries = read_contents(blocks, program.path)
        taken = _take(entries, selection)
        access = stack.enter_context(client_access(side, scratch))
        argv = _argv(program, access, server_major, selection)
        # One job then: what several say at once cannot be told apart.
        jobs = 1 if _is_new_to(server_major, program) else jobs
        try:
            if jobs > 1 and _free(scratch) > raw_bytes + SCRATCH_MARGIN:
                _load_from_scratch(argv, joined(head, blocks), taken.entries, access, scratch, jobs)
            else:
                fds = access.pass_fds
                if len(taken.entries) < len(entries):
                    option, fd = stack.enter_context(_only(taken.entries, scratch))
                    argv, fds = [*argv, option], (*fds, fd)
                stream = joined(head, blocks)
                feed_process(argv, stream, env=access.env, pass_fds=fds, whole=not selection.tables)
        except ToolError as error:
            if not (_is_new_to(server_major, program) and _only_new_setting_refused(error)):
                raise _explained(error, side.alias) from None
    return taken.left_out


def _take(entries: Sequence[Entry], selection: RestoreSelection) -> TableSelection:
    if selection.tables:
        return take_tables(entries, selection.tables, selection.table_owners)
    # An event trigger would fire in the side database, at each command of a migration.
    kept = tuple(entry for entry in entries if not is_event_trigger(entry))
    return TableSelection(
        kept, tuple(entry.words for entry in entries if entry.words.startswith("EVENT TRIGGER "))
    )


def _argv(program: Client, access: Access, server_major: int, selection: RestoreSelection) -> list[str]:
    # A restored subscription would carry production's slot name; it is never made.
    argv = [str(program.path), "--no-subscriptions", *access.arguments]
    if not selection.owners:
        argv += ["--no-owner", "--no-privileges"]
    return argv if _is_new_to(server_major, program) else [*argv, "--exit-on-error"]


@contextmanager
def _only(entries: Iterable[Entry], scratch: Path) -> Iterator[tuple[str, int]]:
    """The option by which ``pg_restore`` restores these ``entries`` only, and the descriptor to pass on."""
    with private_file(scratch) as (file, path):
        file.write(use_list(entries))
        file.flush()
        yield f"--use-list={path}", file.fileno()


def _load_from_scratch(
    argv: list[str], blocks: Blocks, entries: Sequence[Entry], access: Access, scratch: Path, jobs: int
) -> None:
    with private_file(scratch) as (file, path):
        try:
            write_file(blocks, file.fileno(), name="it")
        except FilesError as error:
            raise FilesError(
                f"The dump cannot be kept in {scratch}: {error}",
                unchanged="The live database is as it was.",
                hint="Point IGNY8_BACKUP['SCRATCH_DIR'] at a larger disk, or set JOBS to 1: it needs none.",
            ) from None
        # Each job opens the archive again by this path.
        fds = (*access.pass_fds, file.fileno())
        listed = [ask(path, Path(argv[0]), pass_fds=fds) for ask in (list_post_data, list_unique)]
        for run in split_phases(entries, *listed):
            with _only(run, scratch) as (option, fd):
                run_process([*argv, option, f"--jobs={jobs}", path], env=access.env, pass_fds=(*fds, fd))


def _free(folder: Path) -> int:
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def _is_new_to(server_major: int, program: Client) -> bool:
    return program.major >= _NEW_SETTING_MAJOR > server_major


def _only_new_setting_refused(error: ToolError) -> bool:
    """Whether ``pg_restore`` ran to its end and the server refused nothing but the setting it does not know.

    Then it was run without ``--exit-on-error`` and ended with 1. Its stderr must be here from the beginning:
    what was cut off could have been another error.
    """
    whole = len(error.stderr_tail.encode()) < said.HEAD + said.TAIL - 64
    rest = _REFUSED_SETTING.sub("", error.stderr_tail)
    ended = re.search(r"^pg_restore: warning: errors ignored on restore: \d+\Z", rest, re.MULTILINE)
    return whole and error.exit_status_of_tool == 1 and bool(ended) and "pg_restore: error:" not in rest


def _explained(error: ToolError, alias: str) -> ToolError:
    said = _REFUSED_SETTING.sub("", error.stderr_tail)
    text = str(error).replace(error.stderr_tail, said) if said else str(error)
    mend = "Mend what pg_restore complains of, or restore to a server like the one the dump was made of."
    return type(error)(
        one_line(text),
        unchanged="The live database is as it was.",
        hint=hint_for(text, alias=alias) or mend,
        stderr_tail=without_values(error.stderr_tail),
        exit_status_of_tool=error.exit_status_of_tool,
    )
