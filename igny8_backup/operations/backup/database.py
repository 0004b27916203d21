"""Back up one database: store its dump, and describe the database in the details of the backup."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from igny8_backup.common.humanize import duration_in_words
from igny8_backup.databases.capabilities import Capability
from igny8_backup.databases.dump_streams import DumpStreams, Placement
from igny8_backup.databases.values import Answers
from igny8_backup.errors import BackupError
from igny8_backup.formats import keys
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import COMPLETE
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.source import source_of
from igny8_backup.operations.backup.archives import store_archives
from igny8_backup.operations.backup.chunked.dumps import ChunkedDumps
from igny8_backup.operations.backup.suspects import total_rows
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.installation.migrations import stale_migrations
from igny8_backup.operations.progress import RunObserver
from igny8_backup.operations.staging.probe_checks import unanswered, uncounted_text, with_answers
from igny8_backup.streams import Blocks
from igny8_backup.streams.side_by_side import streams_at_once

LAG = timedelta(minutes=5)
"""If the database is dumped from a standby that is further behind its primary than this, a note says so."""


def backup_database(
    context: BackupContext,
    backup_id: str,
    part: DatabasePart,
    observer: RunObserver,
    chunked: ChunkedDumps,
    damaged: Collection[str] = (),
    on_snapshot: Callable[[], None] = lambda: None,
) -> tuple[DatabasePart, DatabaseDetails, BackupError | None]:
    """Dump the database ``part.alias`` and store the dump, whole or in chunks.

    ``observer`` receives the progress. ``chunked`` stores those dumps of this run that are cut into chunks.
    ``damaged`` are the keys of objects in storage that are known to be damaged. ``on_snapshot`` is called
    when the snapshot of the dump exists, and again if the dump starts over.

    Returns the completed ``part`` (the entry of the database in the manifest), the details of the database,
    and an error if a probe (a query in the settings) failed. Raises ``DatabaseError``, ``ToolError``,
    ``RefusedError`` or ``StorageError``; no dump is left in storage then.
    """
    alias, config = part.alias, context.config
    engine = context.engine(alias)
    observer.waiting_for("the database server")
    versions = engine.versions()
    details = engine.describe(config.exclude_table_data.get(alias, ()))
    details = replace(details, stale_migrations=_stale_migrations(context, details))
    observer.begin(details.size)
    received = [Answers()]

    def receive(answers: Answers) -> None:
        received.append(answers)
        on_snapshot()

    queries = config.probes.get(alias, {})
    in_chunks = chunked.includes(part)
    wanted = config.dump_jobs or engine.choose_jobs("", None, details.size)
    wanted = streams_at_once(wanted if engine.supports(Capability.ARCHIVES) else 1, chunked=in_chunks)

    def monitor(blocks: Blocks) -> Blocks:
        return observer.monitor(blocks, source="the dump", sink="the storage")

    @contextmanager
    def open_dump(placement: Placement | None = None) -> Iterator[DumpStreams]:
        jobs = wanted
        if placement is not None and not config.dump_jobs:
            # As the full dump chose, whatever this machine would choose now.
            jobs = streams_at_once(1 + len(placement), chunked=in_chunks)
        with engine.open_archives(details, queries, receive, jobs=jobs, placement=placement) as streams:
            if streams.at_once > 1:
                context.progress.note(
                    f"{alias}: {streams.at_once} connections dump the database at the same time (DUMP_JOBS)."
                )
            yield replace(streams, archives=list(map(monitor, streams.archives)))

    if in_chunks:
        part = chunked.store(part, open_dump, details.size, damaged)
    elif wanted > 1:
        with open_dump() as streams:
            part = store_archives(context, backup_id, part, streams, kind=engine.dump_kind, size=details.size)
    else:
        key = keys.database_key(backup_id, alias, engine.dump_kind, context.codec.suffix)
        dump = monitor(engine.dump(details, queries, receive))
        part = replace(part, object=context.upload(key, claimed=True).send(dump, estimate=details.size))
    source = source_of(
        details.system_identifier,
        details.applied_migrations,
        details.stale_migrations,
        context.codec.recipients,
    )
    part = replace(
        part,
        state=COMPLETE,
        server_version=versions.server,
        dump_version=versions.tool,
        source=source,
    )
    answers = received[-1]
    part = replace(part, data_time=answers.data_time)
    if part.started - part.as_of > LAG:
        context.progress.note(
            f"WARNING: {alias}: this standby had replayed its primary only up to"
            f" {part.as_of:%Y-%m-%d %H:%M:%S} UTC, {duration_in_words(part.started - part.as_of, units=2)}"
            " before this backup. Later changes are not in the backup. Check whether the replay is paused,"
            " delayed or cut off from the primary."
        )
    if text := uncounted_text(answers):
        context.shortfalls.add(alias, "row counts", text)
    elif answers.snapshot:  # SQLite does not count
        part = replace(part, rows=total_rows(answers.row_counts))
    return part, with_answers(details, answers), unanswered(answers)


def _stale_migrations(context: BackupContext, details: DatabaseDetails) -> dict[str, tuple[str, ...]]:
    """Return the applied migrations whose files the project's code has deleted.

    If the project's migrations cannot be loaded, a note says so and the result is empty.
    """
    try:
        return stale_migrations(details.applied_migrations or {})
    except Exception as error:  # modules of the project are imported
        context.progress.note(
            f"{details.alias}: the project's migrations cannot be loaded ({type(error).__name__}), so this"
            " backup does not say which applied migrations the code has deleted."
        )
        return {}
