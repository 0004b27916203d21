"""Format backups, files and orphaned objects as text, for ``list_backups`` and ``show_backup``."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from igny8_backup.catalog.backups import Entry
from igny8_backup.formats.annotations import DRILLED, Annotations
from igny8_backup.formats.details import Details
from igny8_backup.formats.manifest import COMPLETE, Manifest
from igny8_backup.humanize import age_in_words, count_in_words, duration_in_words, size_in_words
from igny8_backup.journal import DONE, PREPARING, SWAPPING, UNDONE, Journal
from igny8_backup.management.tables import table
from igny8_backup.operations.maintain.orphans import OrphanObject, OrphanReport
from igny8_backup.trees.model.names import escape
from igny8_backup.trees.model.records import Record

_REASONS = {
    "DatabaseError": "the database server could not be reached, or refused a statement",
    "FilesError": "a folder or file could not be read or written",
    "IntegrityError": "data in storage was damaged",
    "LockedError": "the lock was lost",
    "RefusedError": "a safety rule forbade it",
    "StorageError": "the storage could not be reached, or refused a request",
    "ToolError": "a program failed",
    "ToolMissingError": "a program was not installed",
    "ToolTooOldError": "a client program was older than the server",
}
"""The meaning of each class of error that a manifest records for a database or tree that failed."""


def backup_table(entries: Sequence[Entry], annotations: Mapping[str, Annotations], now: datetime) -> str:
    """Return a table with a line for each backup. Ages are measured at ``now``."""
    rows = []
    for entry in entries:
        manifest = entry.manifest
        if manifest is None:
            rows.append((entry.id, "", "", "", "", f"UNREADABLE: {entry.problem}", ""))
            continue
        age, size = age_in_words(manifest.started, now), size_in_words(manifest.stored_bytes)
        state = "complete" if manifest.complete else "INCOMPLETE"
        state += "" if manifest.encrypted else ", unencrypted"
        state += _annotation_text(annotations.get(entry.id, Annotations()))
        rows.append((entry.id, age, manifest.host, _parts(manifest), size, state, manifest.label))
    return table(("ID", "AGE", "HOST", "HOLDS", "STORED", "STATE", "LABEL"), rows)


def restore_line(journal: Journal) -> str:
    """Return a sentence about a restore that is unfinished or keeps data, with the command to run next."""
    when, ids = f"{journal.started:%Y-%m-%d %H:%M:%S} UTC", ", ".join(journal.backup_ids)
    if journal.phase == DONE:
        return f"Restored {when} from {ids}; the previous data is kept. undo_restore swaps it back."
    if journal.phase == UNDONE:
        return f"The restore of {when} was undone; undo_restore --discard deletes the restored data."
    what = f"UNFINISHED: the restore of {when} from {ids}"
    if journal.phase == PREPARING:
        left = [swap.staging for swap in journal.databases]
        left += [f"the new files in {tree.root}" for tree in journal.trees]
        return (
            f"{what} was interrupted before it changed anything live. The next restore_all or undo_restore"
            f" removes what it left: {'; '.join(left)}."
        )
    if journal.phase == SWAPPING:
        return (
            f"{what} was interrupted during the swap. restore_all completes it, undo_restore completes and"
            " undoes it."
        )
    return f"{what} was being undone and was interrupted. undo_restore or restore_all completes the undo."


def orphan_lines(report: OrphanReport, now: datetime) -> Iterator[str]:
    """Yield a table of the objects that belong to no backup, and a line for each unreadable manifest."""
    states = {"orphan": report.orphans, "in use": report.in_use, "doubtful": report.doubtful}
    rows = [_orphan_row(item, state, now) for state, items in states.items() for item in items]
    if rows:
        yield from table(("STORED", "AGE", "STATE", "KEY"), rows).splitlines()
    for entry in report.unreadable:
        yield f"UNREADABLE: {entry.id}: {entry.problem}"


def orphans_text(orphans: Sequence[OrphanObject]) -> str:
    """Return the number and the size of orphaned objects, as in "2 orphaned objects (1.5 MB)"."""
    size = size_in_words(sum(item.size or 0 for item in orphans))
    return f"{count_in_words(len(orphans), 'orphaned object')} ({size})"


def file_line(tree: str, record: Record) -> str:
    """Return a line about a file in the backup of ``tree``, in the format of ``ls -l``."""
    kind = {"dir": stat.S_IFDIR, "symlink": stat.S_IFLNK}.get(record.kind, stat.S_IFREG)
    modified = datetime.fromtimestamp(record.mtime_ns // 10**9, UTC)
    arrow = {"symlink": " -> ", "hardlink": " = "}.get(record.kind, "")
    return (
        f"{stat.filemode(kind | record.mode)} {record.size:>12} {modified:%Y-%m-%d %H:%M:%S}"
        f" {tree}/{escape(record.path)}{arrow}{escape(record.target)}"
    )


def manifest_lines(manifest: Manifest) -> Iterator[str]:
    """Yield lines about the databases, trees and stored objects of a backup, from its manifest."""
    seconds = (manifest.finished - manifest.started).total_seconds()
    yield f"Backup {manifest.id}{f' ({manifest.label})' if manifest.label else ''}"
    yield f"  host {manifest.host}, environment {manifest.environment}, took {seconds:.0f} s"
    yield "  " + ", ".join(f"{name} {version}" for name, version in manifest.software.items())
    for part in manifest.databases:
        dumped = f"server {part.server_version}, dumped by {part.dump_version}"
        dumped = dumped if part.object else _reason(part.error)
        yield f"  database {part.alias}: {part.state}, {part.engine}, {dumped}"
    for tree in manifest.trees:
        counts = (
            f"{tree.files} files, {tree.directories} folders, {tree.links} links, {tree.skipped} skipped"
            f"{f', {tree.excluded} excluded' if tree.excluded else ''}"
        )
        described = _reason(tree.error) if tree.error else counts
        yield f"  files {tree.name} ({tree.role}): {tree.state}, {described}"
    for item in manifest.objects():
        yield f"    {size_in_words(item.stored_bytes):>10}  {item.sha256[:16]}  {item.key}"


def annotation_lines(annotations: Annotations) -> Iterator[str]:
    """Yield lines about the pin of a backup and the results of its verifications and drills."""
    if annotations.pin:
        yield f"  pinned {annotations.pin.pinned:%Y-%m-%d}: {annotations.pin.reason}"
    for check in annotations.checks:
        result = f"{len(check.damage)} DAMAGED" if check.damage else "no damage"
        read = f"{check.read} of {check.objects} objects read"
        if check.depth == DRILLED:
            read += f", restored in {duration_in_words(check.finished - check.started, units=2)}"
        yield f"  {check.depth} checked {check.started:%Y-%m-%d %H:%M} UTC: {result}, {read}"
        for item in check.damage:
            yield f"    {item.kind}: {item.key}"


def details_lines(details: Details) -> Iterator[str]:
    """Yield lines about the contents of a backup, from its details (the encrypted facts about them)."""
    for database in details.databases:
        extensions = ", ".join(f"{name} {version}" for name, version in database.extensions.items())
        yield f"  {database.alias}: {len(database.tables)} tables, {size_in_words(database.size)}"
        if database.owner:
            yield f"    owner {database.owner}, {database.encoding}, {database.collate}; {extensions}"
        if database.excluded_data:
            yield f"    without the rows of {', '.join(database.excluded_data)}"
        for probe in database.probes:
            rows = (", ".join("NULL" if value is None else value for value in row) for row in probe.rows)
            yield f"    {probe.name}: {' / '.join(rows)}"
    for item in details.skipped:
        yield f"  {item.tree}: {item.path}: {item.reason}"
    for name, text in details.errors.items():
        yield f"  {name} failed: {text}"


def _reason(error: str) -> str:
    """Describe in words the class of error with which the backup of a database or tree failed.

    The error message itself is not shown, because it is encrypted in the backup.
    """
    return f"{_REASONS.get(error, 'an error')} ({error})" if error else "no reason is recorded"


def _annotation_text(annotations: Annotations) -> str:
    """Return the pin and checks as the end of a table cell: ``, pinned, stored checked 2026-11-22``."""
    text = ", pinned" if annotations.pin else ""
    for check in annotations.checks:
        text += f", {check.depth} {'DAMAGED' if check.damage else 'checked'} {check.started:%Y-%m-%d}"
    return text


def _parts(manifest: Manifest) -> str:
    """Return a table cell with the names of databases and trees: ``default, uploads (failed)``."""
    parts = [(part.alias, part.state) for part in manifest.databases]
    parts += [(part.name, part.state) for part in manifest.trees]
    return ", ".join(name if state == COMPLETE else f"{name} ({state})" for name, state in parts)


def _orphan_row(item: OrphanObject, state: str, now: datetime) -> tuple[str, ...]:
    size = "" if item.size is None else size_in_words(item.size)
    age = age_in_words(item.modified, now) if item.modified else ""
    return size, age, state, f"{item.key} (unfinished upload)" if item.upload_id else item.key
