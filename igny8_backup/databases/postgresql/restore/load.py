"""Restore a dump into a staging database with ``pg_restore``, without writing the dump to a disk.

One ``pg_restore`` reads the dump as a stream. With several jobs, it restores definitions and rows only. A
second ``pg_restore`` then builds indexes and constraints on several connections, and restores everything else
that must wait for the rows, such as triggers. Its jobs seek in the archive, but need no rows of it, so they
read only the table of contents, which is kept in memory.

A dump may have data archives with the rows of some tables. Then the definitions of the main archive are
restored first, also from its table of contents, and then the rows of all archives side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import closing
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
from igny8_backup.databases.postgresql.restore.archive.steps import divide, row_entries
from igny8_backup.databases.postgresql.restore.archive.tables import TableSelection, select_tables
from igny8_backup.databases.postgresql.restore.archive.toc import Entry, read_contents
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

        def main(guard: Guard) -> tuple[str, ...]:
            restore.stream(contents, guard(blocks), steps.streamed, reads_all=not selection.tables)
            return ()

        def rows(number: int, archive: Blocks, guard: Guard) -> tuple[str, ...]:
            lost = selection.lost.data[number] if selection.lost.packs else frozenset[int]()
            return _load_rows(restore, guard(archive), selected, lost, untrusted=selection.untrusted)

        streams: list[Callable[[Guard], tuple[str, ...]]] = [main]
        streams += [partial(rows, number, archive) for number, archive in enumerate(data)]
        lost_rows = [label for found in run_side_by_side(streams, min(jobs, MOST_STREAMS)) for label in found]
        if steps.late:
            restore.from_contents(contents, steps.late, jobs=jobs)
        if grants.after:
            with staging.open() as session:
                session.execute(grants.after)
    return (*selected.left_out, *lost_rows, *tablespaces)


def _load_rows(
    restore: PgRestore,
    blocks: Blocks,
    selected: TableSelection,
    lost: Collection[int],
    *,
    untrusted: bool,
) -> tuple[str, ...]:
    """Restore the rows of the ``selected`` tables that the data archive ``blocks`` has.

    The data of the entries with the numbers ``lost`` cannot be read. Returns the labels of these entries.
    """
    contents = read_contents(blocks)
    if untrusted:
        require_harmless(contents.entries)
    rows = row_entries(contents.entries, selected)
    restore.stream(contents, blocks, [one for one in rows if one.number not in lost], reads_all=False)
    return tuple(one.label for one in rows if one.number in lost)


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
