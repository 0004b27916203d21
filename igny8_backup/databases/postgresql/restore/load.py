"""Restore a dump into a staging database with ``pg_restore``, without writing the dump to a disk.

One ``pg_restore`` reads the dump as a stream. With several jobs, it restores definitions and rows only. A
second ``pg_restore`` then builds indexes and constraints on several connections, and restores everything else
that must wait for the rows, such as triggers. Its jobs seek in the archive, but need no rows of it, so they
read only the table of contents, which is kept in memory.

A dump may have data archives with the rows of some tables. Then the definitions of the main archive are
restored first, also from its table of contents, and then the rows of all archives side by side. Plain indexes
of tables whose rows are there are built meanwhile, so that the largest table does not hold up all others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from igny8_backup.databases.postgresql.clients import Client, find_client
from igny8_backup.databases.postgresql.connections.connection import Connection
from igny8_backup.databases.postgresql.restore.archive.left_out import (
    require_harmless,
    select_all,
    unusable_tablespaces,
    without_unknown_labels,
)
from igny8_backup.databases.postgresql.restore.archive.steps import (
    Steps,
    divide,
    indexes_of,
    needs_other_rows,
    row_entries,
)
from igny8_backup.databases.postgresql.restore.archive.tables import TableSelection, select_tables
from igny8_backup.databases.postgresql.restore.archive.toc import Contents, Entry, read_contents
from igny8_backup.databases.postgresql.restore.archive.undamaged import without_lost_rows
from igny8_backup.databases.postgresql.restore.grants import Grants, separate_grants
from igny8_backup.databases.postgresql.restore.pg_restore import PgRestore, sends_unknown_setting
from igny8_backup.databases.postgresql.roles.limits import possible_jobs
from igny8_backup.databases.postgresql.roles.membership import reachable_roles
from igny8_backup.databases.values import WHOLE, RestoreSelection
from igny8_backup.streams import Blocks
from igny8_backup.streams.account import Account
from igny8_backup.streams.side_by_side import MOST_STREAMS, Guard, run_side_by_side


def load(
    staging: Connection,
    archives: Sequence[Blocks],
    *,
    scratch: Path,
    jobs: int,
    bin_dir: Path | None,
    selection: RestoreSelection = WHOLE,
    run_as: Account | None = None,
) -> tuple[str, ...]:
    """Restore a dump into ``staging``; return the labels of the entries that were left out.

    ``archives`` are the main archive of the dump, and its data archives if it has any. ``selection`` is the
    part of the dump to restore. At most ``jobs`` connections work at the same time. Lists of entries and
    passfiles are written in the folder ``scratch``. Raises ``RefusedError`` if an untrusted dump has SQL that
    reaches beyond the database. Also raises ``ToolError``, ``IntegrityError``, ``FilesError`` and the
    exceptions of ``archives``.
    """
    blocks, *data = archives
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
        if sends_unknown_setting(program, server_major) or staging.changing:
            jobs = 1
        restore = PgRestore(
            staging, argv, scratch, run_as, tolerant=sends_unknown_setting(program, server_major)
        )
        steps = divide(grants.entries, jobs=jobs, data=bool(data))
        if steps.first:
            restore.from_contents(contents, steps.first, jobs=1)

        rows = _Rows(restore, contents, steps, selected, selection, jobs)
        lost_rows = rows.load(blocks, data)
        if late := [entry for entry in steps.late if entry.number not in rows.built]:
            restore.from_contents(contents, late, jobs=jobs)
        if grants.after:
            with staging.open() as session:
                session.execute(grants.after)
    return (*selected.left_out, *lost_rows, *tablespaces)


@dataclass
class _Rows:
    """Restores the rows of all archives, and meanwhile those plain indexes whose tables have their rows.

    ``contents`` is the table of contents of the main archive, ``steps`` divides it. At most ``jobs``
    connections work at the same time. ``built`` has the numbers of the indexes that were built.
    """

    restore: PgRestore
    contents: Contents
    steps: Steps
    selected: TableSelection
    selection: RestoreSelection
    jobs: int
    at_once: int = 1
    built: set[int] = field(default_factory=set)

    def load(self, main: Blocks, data: Sequence[Blocks]) -> list[str]:
        """Restore the rows of the archives; return the labels of those entries whose rows are damaged."""
        if not data:
            self._stream_main(main)
            return []
        functions = [partial(self._load_data, number, blocks) for number, blocks in enumerate(data)]
        main_last = needs_other_rows(self.steps.streamed, self.contents.entries)
        if main_last:
            # The main archive is open, too, and needs memory while it waits.
            self.at_once = min(self.jobs, MOST_STREAMS - 1, len(data))
        else:
            self.at_once = min(self.jobs, MOST_STREAMS, 1 + len(data))
            functions.insert(0, partial(self._load_main, main))
        lost_rows = [label for found in run_side_by_side(functions, self.at_once) for label in found]
        if main_last:
            self._stream_main(main)
        return lost_rows

    def _stream_main(self, blocks: Blocks) -> None:
        reads_all = not self.selection.tables
        self.restore.stream(self.contents, blocks, self.steps.streamed, reads_all=reads_all)

    def _load_main(self, blocks: Blocks, guard: Guard) -> Sequence[str]:
        self._stream_main(guard(blocks))
        self._build_indexes(self.steps.streamed, guard)
        return ()

    def _load_data(self, number: int, blocks: Blocks, guard: Guard) -> Sequence[str]:
        selection, blocks = self.selection, guard(blocks)
        contents = read_contents(blocks)
        if selection.untrusted:
            require_harmless(contents.entries)
        lost = selection.lost.data[number] if selection.lost.packs else frozenset[int]()
        rows = row_entries(contents.entries, self.selected)
        sound = [one for one in rows if one.number not in lost]
        self.restore.stream(contents, blocks, sound, reads_all=False)
        self._build_indexes(rows, guard)
        return [one.label for one in rows if one.number in lost]

    def _build_indexes(self, rows: Sequence[Entry], guard: Guard) -> None:
        ready = indexes_of(self.steps.late, self.contents.entries, rows)
        if ready:
            jobs = self.jobs // self.at_once
            self.restore.from_contents(self.contents, ready, jobs=jobs, check=guard.check)
            self.built.update(entry.number for entry in ready)


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
    return argv if sends_unknown_setting(program, server_major) else [*argv, "--exit-on-error"]
