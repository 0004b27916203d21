"""Compare what is live on this host with its newest backups, and store the result with each backup."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from datetime import datetime
from typing import TypeVar

from igny8_backup.common.humanize import count_in_words
from igny8_backup.conf import Config
from igny8_backup.databases.engine import Engine
from igny8_backup.errors import BackupError, UsageError
from igny8_backup.formats import keys
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.documents.annotations import SCHEMA, Annotations
from igny8_backup.formats.documents.spot_check import SpotCheck, SpotFinding
from igny8_backup.formats.manifest import COMPLETE, Manifest
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.backup.trees.exclusions import kept_in
from igny8_backup.operations.backup.trees.local_index import find_local_index
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.documents import manifest_digest, store_signed
from igny8_backup.operations.history.read import History, read_history
from igny8_backup.operations.history.seen import remember_spot_check
from igny8_backup.operations.history.table_counts import TableCounts, remembered_tables
from igny8_backup.operations.spot_check.judge import judge_tables, judge_tree
from igny8_backup.operations.spot_check.result import SpotPart, SpotRequest, SpotResult
from igny8_backup.signing.trust import CHECK
from igny8_backup.streams.pipeline import from_file
from igny8_backup.trees.index import index
from igny8_backup.trees.scan.live_check import check_live, find_old_files

T = TypeVar("T")

TABLES = 200
"""The rows of at most this many tables are counted, the largest ones."""
AT_ONCE = 20
"""The rows of this many tables are counted before the progress is shown."""
SHOWN_EVERY = 256
"""The progress is shown after this many files."""
HASHED = 20
"""At most this many unchanged files of each tree are read completely."""


def spot_check(context: BackupContext, request: SpotRequest) -> SpotResult:
    """Compare the live databases and trees of this host with its newest backups.

    No key is needed: the file lists and row counts of the last backups are in ``STATE_DIR``. The result is
    stored with each backup. After an alarm, the retention policy removes no copy of the database or tree
    until ``accept_backup`` accepts the alarm. A database or tree that cannot be compared is a problem in the
    result. Raises ``UsageError`` for an unknown name, ``StorageError``, and ``IdentityError`` if the signing
    key cannot be used.
    """
    wanted = _wanted(context.config, request.names)
    history = read_history(context)
    started = context.clock()
    parts = []
    for kind, name in wanted:
        try:
            parts.append(_compare(context, history, kind, name, request))
        except BackupError as error:
            parts.append(SpotPart(kind=kind, name=name, problem=str(error)))
    _store(context, history, parts, started)
    return SpotResult(parts=tuple(parts))


def _wanted(config: Config, names: tuple[str, ...]) -> list[tuple[str, str]]:
    known = [("database", alias) for alias in config.databases] + [("files", name) for name in config.sites]
    for name in names:
        if name not in [item for _, item in known]:
            listed = ", ".join(item for _, item in known) or "none"
            what = f"This host has no database or tree {name!r} to compare."
            raise UsageError(what, unchanged="Nothing was changed.", hint=f"It has: {listed}.")
    return [item for item in known if not names or item[1] in names]


def _compare(
    context: BackupContext, history: History, kind: str, name: str, request: SpotRequest
) -> SpotPart:
    found = _newest(history, context.config.host, kind, name)
    if found is None:
        return SpotPart(kind=kind, name=name, problem="this host has no backup of it.")
    manifest, part = found
    if isinstance(part, TreePart):
        return _compare_tree(context, manifest, part, request)
    return _compare_database(context, manifest, part, request)


def _newest(
    history: History, host: str, kind: str, name: str
) -> tuple[Manifest, DatabasePart | TreePart] | None:
    untrusted = {entry.id for entry in history.entries if entry.untrusted}
    for manifest in history.manifests:
        for part in manifest.parts:
            same = (manifest.host, part.kind, part.name, part.state) == (host, kind, name, COMPLETE)
            if same and manifest.id not in untrusted and not manifest.safety:
                return manifest, part
    return None


def _compare_tree(
    context: BackupContext, manifest: Manifest, part: TreePart, request: SpotRequest
) -> SpotPart:
    base = SpotPart(kind=part.kind, name=part.name, backup_id=manifest.id)
    path, damage = find_local_index(context, manifest, part)
    if path is None:
        problem = damage or f"STATE_DIR has no list of the files in backup {manifest.id}."
        return replace(base, problem=problem)
    root = context.config.sites[part.name]
    started = int(part.started.timestamp()) * 1_000_000_000
    entries = part.files + part.directories + part.links
    old_files = find_old_files(root, started_ns=started, own=kept_in(context, root))
    with closing(from_file(path)) as blocks:
        live = check_live(
            root,
            _shown(context, f"backup of {part.name}", entries, "files and folders", index.read(blocks)),
            _shown(context, f"live {part.name}", part.files, "files", old_files),
            started_ns=started,
            sample=request.sample,
            hashed=HASHED,
            seed=random.SystemRandom().randrange(1 << 32),
        )
    return replace(
        base, numbers=asdict(live), findings=_findings(context, base, judge_tree(live, request.allowed))
    )


def _compare_database(
    context: BackupContext, manifest: Manifest, part: DatabasePart, request: SpotRequest
) -> SpotPart:
    base = SpotPart(kind=part.kind, name=part.name, backup_id=manifest.id)
    counts = remembered_tables(context, part.alias)
    if counts is None or counts.backup_id != manifest.id:
        return replace(base, problem=f"STATE_DIR has no row counts of backup {manifest.id}.")
    engine = context.engine(part.alias)
    largest = sorted(counts.row_counts, key=lambda table: counts.row_counts[table], reverse=True)[:TABLES]
    live = _row_counts(context, engine, counts, largest)
    problem = ""
    if uncounted := [table for table in largest if table not in live]:
        problem = f"The rows of {uncounted[0]}{_and_others(uncounted)} could not be counted."
    findings = _findings(context, base, judge_tables(counts, live, request.allowed))
    return replace(base, numbers={"tables": len(live)}, findings=findings, problem=problem)


def _and_others(tables: list[str]) -> str:
    return f" and {count_in_words(len(tables) - 1, 'other table')}" if tables[1:] else ""


def _row_counts(
    context: BackupContext, engine: Engine, counts: TableCounts, tables: list[str]
) -> dict[str, int]:
    if not tables:
        return {}
    name = engine.name
    existing = set(engine.tables(name))
    found = {table: 0 for table in tables if table not in existing}
    counted = [table for table in tables if table in existing]
    context.progress.begin(f"rows of {engine.alias}", None, len(counted), "tables")
    try:
        for start in range(0, len(counted), AT_ONCE):
            some = counted[start : start + AT_ONCE]
            details = DatabaseDetails(
                alias=engine.alias,
                name=name,
                tables=tuple(some),
                row_counts={table: counts.row_counts[table] for table in some},
                counted_to=counts.counted_to,
            )
            found |= engine.answers(name, details, some).row_counts
            context.progress.advance(0, len(some))
    finally:
        context.progress.end()
    return found


def _shown(context: BackupContext, what: str, count: int, unit: str, items: Iterable[T]) -> Iterator[T]:
    """Yield ``items``, about ``count`` of them, and show how many have been read.

    ``what`` is the work that is shown, ``unit`` what an item is called, in the plural.
    """
    context.progress.begin(what, None, count, unit)
    try:
        for number, item in enumerate(items, 1):
            yield item
            if number % SHOWN_EVERY == 0:
                context.progress.advance(0, SHOWN_EVERY)
    finally:
        context.progress.end()


def _findings(
    context: BackupContext, part: SpotPart, alarms: Iterator[tuple[str, str]]
) -> tuple[SpotFinding, ...]:
    now = context.clock()
    return tuple(
        SpotFinding(kind=part.kind, name=part.name, cause=cause, text=text, found=now)
        for cause, text in alarms
    )


def _store(context: BackupContext, history: History, parts: list[SpotPart], started: datetime) -> None:
    """Store the results with the backups, together with earlier alarms, which only ``accept_backup`` ends."""
    by_backup: defaultdict[str, list[SpotPart]] = defaultdict(list)
    for part in parts:
        if part.backup_id and not part.problem:
            by_backup[part.backup_id].append(part)
    for backup_id, compared in by_backup.items():
        earlier = history.annotations.get(backup_id, Annotations()).spot
        findings = [finding for part in compared for finding in part.findings]
        made = SpotCheck(
            schema=SCHEMA,
            id=backup_id,
            host=context.config.host,
            started=started,
            finished=context.clock(),
            findings=(*findings, *(earlier.findings if earlier else ())),
            manifest_sha256=manifest_digest(context, backup_id),
        )
        store_signed(context, keys.spot_key(backup_id), CHECK, made)
        remember_spot_check(context, made)
