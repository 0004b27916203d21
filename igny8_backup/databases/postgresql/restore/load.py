"""Restore a dump into a staging database with ``pg_restore``, without writing the dump to a disk.

One ``pg_restore`` reads the dump as a stream. With several jobs, it restores definitions and rows only. A
second ``pg_restore`` then builds indexes and constraints on several connections, and restores everything else
that must wait for the rows, such as triggers. Its jobs seek in the archive, but need no rows of it, so they
read only the table of contents, which is kept in memory.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.databases.postgresql.client_access import client_access
from igny8_backup.databases.postgresql.clients import Client, find_client
from igny8_backup.databases.postgresql.connections.connection import Connection
from igny8_backup.databases.postgresql.hints import hint_for, one_line
from igny8_backup.databases.postgresql.restore.archive.left_out import (
    require_harmless,
    select_all,
    unusable_tablespaces,
    without_unknown_labels,
)
from igny8_backup.databases.postgresql.restore.archive.tables import TableSelection, select_tables
from igny8_backup.databases.postgresql.restore.archive.toc import (
    Contents,
    Entry,
    joined,
    read_contents,
    use_list,
)
from igny8_backup.databases.postgresql.restore.archive.undamaged import without_lost_rows
from igny8_backup.databases.postgresql.restore.grants import Grants, separate_grants
from igny8_backup.databases.postgresql.roles.limits import possible_jobs
from igny8_backup.databases.postgresql.roles.membership import reachable_roles
from igny8_backup.databases.redact import without_values
from igny8_backup.databases.values import WHOLE, RestoreSelection
from igny8_backup.errors import ToolError
from igny8_backup.streams import Blocks, stderr_tail
from igny8_backup.streams.account import Account
from igny8_backup.streams.private_file import memory_file, private_file
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
    scratch: Path,
    jobs: int,
    bin_dir: Path | None,
    selection: RestoreSelection = WHOLE,
    run_as: Account | None = None,
) -> tuple[str, ...]:
    """Restore the dump ``blocks`` into ``staging``; return the labels of the entries that were left out.

    At most ``jobs`` connections build indexes and constraints at the same time. Lists of entries and
    passfiles are written in the folder ``scratch``. Raises ``RefusedError`` if an untrusted dump has SQL that
    reaches beyond the database. Also raises ``ToolError``, ``IntegrityError``, ``FilesError`` and the
    exceptions of ``blocks``.
    """
    with closing(blocks):
        with staging.open() as session:
            server_major = session.server_version // 10000
            contents = read_contents(blocks)
            if selection.untrusted:
                require_harmless(contents.entries)
            selected = _select(contents.entries, selection, reachable_roles(session))
            selected = without_unknown_labels(session, selected)
            if selection.lost.packs:
                selected = without_lost_rows(selected, contents.entries, selection.lost)
            grants = Grants(selected.entries)
            if selection.owners:
                grants = separate_grants(session, selected.entries)
            if grants.before:
                session.execute(grants.before)
            tablespaces = unusable_tablespaces(session, selected.entries)
            jobs = possible_jobs(session, jobs)
        program = find_client("pg_restore", server_major=server_major, bin_dir=bin_dir)
        argv = (*_argv(program, server_major, selection), *["--no-tablespaces"] * bool(tablespaces))
        # Several jobs interleave their errors on stderr, and _only_setting_refused() could not parse them.
        # After several jobs, pg_restore connects again with the password that it got at its start, which may
        # have expired; with one job it does not.
        if _sends_unknown_setting(program, server_major) or staging.changing:
            jobs = 1
        late = tuple(entry for entry in grants.entries if entry.post_data and jobs > 1)
        numbers = {entry.number for entry in late}
        early = tuple(entry for entry in grants.entries if entry.number not in numbers)
        restore = _PgRestore(staging, argv, scratch, run_as)
        try:
            restore.stream(contents, blocks, early, reads_all=not selection.tables)
            if late:
                restore.side_by_side(contents, late, jobs)
        except ToolError as error:
            if not (_sends_unknown_setting(program, server_major) and _only_setting_refused(error)):
                raise _with_hint(error, staging.alias) from None
        if grants.after:
            with staging.open() as session:
                session.execute(grants.after)
    return (*selected.left_out, *tablespaces)


@dataclass(frozen=True)
class _PgRestore:
    """Runs ``pg_restore`` with the options ``argv`` on the database ``staging``."""

    staging: Connection
    argv: tuple[str, ...]
    scratch: Path
    run_as: Account | None

    def stream(
        self, contents: Contents, blocks: Blocks, entries: Sequence[Entry], *, reads_all: bool
    ) -> None:
        """Restore ``entries`` over one connection, from an archive of which ``blocks`` are the rest.

        ``contents`` is its beginning. With ``reads_all`` false, ``pg_restore`` may stop reading early.
        """
        with ExitStack() as stack:
            options: tuple[str, ...] = ()
            fds: tuple[int, ...] = ()
            if len(entries) < len(contents.entries):
                option, fd = stack.enter_context(self._list(entries))
                options, fds = (option,), (fd,)
            access = stack.enter_context(client_access(self.staging, self.scratch, self.run_as))
            feed_process(
                [*self.argv, *access.arguments, *options],
                joined(contents, blocks),
                env=access.env,
                pass_fds=(*fds, *access.pass_fds),
                reads_all=reads_all,
                run_as=self.run_as,
            )

    def side_by_side(self, contents: Contents, entries: Sequence[Entry], jobs: int) -> None:
        """Restore ``entries``, which have no rows, over ``jobs`` connections."""
        # Each job opens the archive by its path, for which it must inherit the descriptor.
        with (
            memory_file(contents.head, self.scratch, owner=self.run_as) as (fd, path),
            self._list(entries) as (option, list_fd),
            client_access(self.staging, self.scratch, self.run_as) as access,
        ):
            run_process(
                [*self.argv, *access.arguments, option, f"--jobs={jobs}", path],
                env=access.env,
                pass_fds=(*access.pass_fds, fd, list_fd),
                run_as=self.run_as,
            )

    @contextmanager
    def _list(self, entries: Iterable[Entry]) -> Iterator[tuple[str, int]]:
        """Write a list file with which ``pg_restore`` restores only ``entries``.

        Yields the option that names the file, and the descriptor of the file, which ``pg_restore`` must
        inherit.
        """
        with private_file(self.scratch, use_list(entries), owner=self.run_as) as (file, path):
            yield f"--use-list={path}", file.fileno()


def _select(
    entries: Sequence[Entry], selection: RestoreSelection, reachable: Collection[str]
) -> TableSelection:
    if selection.tables:
        return select_tables(entries, selection.tables)
    return select_all(entries, reachable)


def _argv(program: Client, server_major: int, selection: RestoreSelection) -> list[str]:
    # Subscriptions are left out, because they would use the replication slot of the live database.
    argv = [str(program.path), "--no-subscriptions"]
    if not selection.owners:
        argv += ["--no-owner", "--no-privileges"]
    return argv if _sends_unknown_setting(program, server_major) else [*argv, "--exit-on-error"]


def _sends_unknown_setting(program: Client, server_major: int) -> bool:
    return program.major >= _NEW_SETTING_MAJOR > server_major


def _only_setting_refused(error: ToolError) -> bool:
    """Return whether the server refused only a setting that it is too old to know.

    In that case ``pg_restore``, which is newer and ran without ``--exit-on-error``, has restored everything
    and ended with status 1. Returns false if stderr was shortened, because the missing part could contain
    another error.
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
