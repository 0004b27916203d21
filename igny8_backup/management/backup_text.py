"""Format backups and files as text, for ``list_backups`` and ``show_backup``."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from igny8_backup.catalog.backups import Entry
from igny8_backup.catalog.fleets import Fleet
from igny8_backup.common.humanize import age_in_words, count_in_words, size_in_words, time_taken
from igny8_backup.errors import UsageError
from igny8_backup.formats.details import Details
from igny8_backup.formats.documents.annotations import DRILLED, Annotations
from igny8_backup.formats.manifest import COMPLETE, Manifest
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.journal import DONE, PREPARING, READY, REDOING, SWAPPING, UNDONE, Journal
from igny8_backup.management.fleet_text import by_fleet, fleet_row
from igny8_backup.management.options.choose_backups import by_day
from igny8_backup.management.tables import table
from igny8_backup.operations.backup.database import LAG
from igny8_backup.operations.history.read import History
from igny8_backup.operations.undo.history import choose, command
from igny8_backup.standing import CopyStanding
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


def backup_table(history: History, fleets: Iterable[Fleet] = ()) -> str:
    """Return a table with a line for each backup.

    If the backups started on several days, a line with the date precedes the backups of each day. A line
    about a fleet backup in ``fleets`` precedes its parts, whose ids are indented.
    """
    rows, known = [], {fleet.record.id: fleet for fleet in fleets}
    for day, entries in by_day(history.entries):
        rows += [(day, *[""] * 6)] * bool(day)
        for fleet_id, parts in by_fleet(entries):
            fleet = known.get(fleet_id)
            rows += [fleet_row(fleet, history.now)] if fleet else []
            rows += [_backup_row(entry, history, "  " if fleet else "") for entry in parts]
    return table(("ID", "AGE", "HOST", "HOLDS", "STORED", "STATE", "LABEL"), rows)


def _backup_row(entry: Entry, history: History, indent: str) -> tuple[str, ...]:
    manifest = entry.manifest
    if manifest is None:
        return (indent + entry.id, "", "", "", "", f"UNREADABLE: {entry.problem}", "")
    age, size = age_in_words(manifest.started, history.now), size_in_words(manifest.stored_bytes)
    state = "complete" if manifest.complete else "INCOMPLETE"
    if manifest.left_out:
        state = "partial copy"
    state += "" if manifest.encrypted else ", unencrypted"
    annotations = history.annotations.get(entry.id, Annotations())
    state += _standing_text(history.standings.of_backup(entry.id))
    state += _annotation_text(manifest, annotations)
    return (indent + entry.id, age, manifest.host, _parts(manifest), size, state, manifest.label)


def restore_line(journal: Journal, journals: Sequence[Journal]) -> str:
    """Return a sentence about a restore that is unfinished or keeps data, with the command to run next.

    ``journals`` are those of all restores.
    """
    when, ids = f"{journal.started:%Y-%m-%d %H:%M:%S} UTC", ", ".join(journal.backup_ids)
    if journal.phase in (DONE, UNDONE):
        try:
            how = f"To swap it back: {command(journals, choose(journals, journal.stamp))}"
        except UsageError as error:
            how = error.parts[2]
        if journal.phase == DONE:
            return f"Restored {when} from {ids}; the previous data is kept. {how}"
        return f"The restore of {when} was undone; the restored data is kept. {how}"
    what = f"UNFINISHED: the restore of {when} from {ids}"
    if journal.phase == PREPARING:
        left = [swap.staging for swap in journal.databases]
        left += [f"the new files in {tree.root}" for tree in journal.trees]
        return (
            f"{what} is running or was interrupted. It has changed nothing live. Once it has ended, the next"
            f" restore_all or undo_restore removes what it left: {'; '.join(left)}."
        )
    if journal.phase == READY:
        return (
            f"{what} is prepared, and waits until all hosts of the fleet restore {journal.fleet} are ready."
            " If its task was killed, restore_all completes it or removes what it left, as was decided."
        )
    if journal.phase == SWAPPING:
        return f"{what} was interrupted during the swap. restore_all completes it, undo_restore undoes it."
    if journal.phase == REDOING:
        return f"{what} was interrupted while it was redone. undo_restore or restore_all completes the redo."
    return f"{what} was interrupted while it was undone. undo_restore or restore_all completes the undo."


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
    if manifest.fleet:
        yield f"  part of the fleet backup {manifest.fleet}"
    yield "  " + ", ".join(f"{name} {version}" for name, version in manifest.software.items())
    for part in manifest.databases:
        dumped = f"server {part.server_version}, dumped by {part.dump_version}"
        dumped += f", data of {part.data_time:%Y-%m-%d %H:%M:%S} UTC (standby)" if part.data_time else ""
        dumped = dumped if part.object else _reason(part.error)
        yield f"  database {part.alias}: {part.state}, {part.engine}, {dumped}"
    for tree in manifest.trees:
        counted = {"file": tree.files, "folder": tree.directories, "link": tree.links}
        counts = ", ".join(count_in_words(number, noun) for noun, number in counted.items())
        counts += f", {tree.skipped} skipped{f', {tree.excluded} excluded' if tree.excluded else ''}"
        described = _reason(tree.error) if tree.error else counts
        yield f"  files {tree.name} ({tree.role}): {tree.state}, {described}"
    for item in manifest.objects():
        yield f"    {size_in_words(item.stored_bytes):>10}  {item.sha256[:16]}  {item.key}"


def annotation_lines(manifest: Manifest, annotations: Annotations) -> Iterator[str]:
    """Yield lines about the pin of a backup, its accepted parts, its verifications and its drills."""
    if annotations.pin:
        yield f"  pinned {annotations.pin.pinned:%Y-%m-%d}: {annotations.pin.reason}"
    if annotations.release:
        yield f"  released {annotations.release.released:%Y-%m-%d}: retention applies to it"
    elif manifest.safety:
        yield (
            "  kept until released, because it can undo a restore in place; to release it:"
            f" pin_backup {manifest.id} --unpin"
        )
    for part in annotations.acceptance.parts if annotations.acceptance else ():
        yield f"  copy of {part.name} accepted {part.accepted:%Y-%m-%d}: {part.reason}"
    for check in annotations.checks:
        damage = check.all_damage()
        result = f"{len(damage)} DAMAGED" if damage else "no damage"
        read = f"{check.read} of {check.objects} objects read"
        if check.depth == DRILLED:
            read += f", restored in {time_taken(check.finished - check.started)}"
        yield f"  {check.depth} checked {check.started:%Y-%m-%d %H:%M} UTC: {result}, {read}"
        for item in damage:
            yield f"    {item.kind}: {item.key}"
    for doubt in annotations.doubts:
        yield f"  unsigned: {doubt}"
    for check in annotations.reported:
        for item in check.all_damage():
            yield f"    reported as {item.kind}, not proven: {item.key}"


def standing_lines(standings: Iterable[CopyStanding]) -> Iterator[str]:
    """Yield a line for each copy that cannot be relied on, with the reason."""
    for copy in standings:
        for reason in copy.unfit:
            yield f"  {reason.kind.upper()}, {copy.part.kind} {copy.part.name}: {reason.text}"


def details_lines(details: Details) -> Iterator[str]:
    """Yield lines about the contents of a backup, from its details (its encrypted description)."""
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
    for tree in details.trees:
        for excluded in tree.newly_excluded:
            yield f"  {tree.name}: excluded since the backup before: {excluded}"
    for item in details.skipped:
        yield f"  {item.tree}: {item.path}: {item.reason}"
    for name, text in details.errors.items():
        yield f"  {name} failed: {text}"


def _reason(error: str) -> str:
    """Describe in words the class of error with which the backup of a database or tree failed.

    The error message itself is not shown, because it is encrypted in the backup.
    """
    return f"{_REASONS.get(error, 'an error')} ({error})" if error else "no reason is recorded"


def _standing_text(standings: Iterable[CopyStanding]) -> str:
    """Return a part of a table cell that names the unreliable copies: ``, SUSPECT: uploads``."""
    names: dict[str, list[str]] = {}
    for copy in standings:
        for reason in copy.unfit:
            names.setdefault(reason.kind, []).append(copy.part.name)
    return "".join(f", {kind.upper()}: {' '.join(found)}" for kind, found in names.items())


def _annotation_text(manifest: Manifest, annotations: Annotations) -> str:
    """Return the pin and checks as the end of a table cell: ``, pinned, stored checked 2026-11-22``."""
    pinned = annotations.pin or (manifest.safety and not annotations.release)
    text = ", pinned" if pinned else ""
    text += ", accepted" if annotations.acceptance and annotations.acceptance.parts else ""
    for check in annotations.checks:
        text += f", {check.depth} {'DAMAGED' if check.all_damage() else 'checked'} {check.started:%Y-%m-%d}"
    if any(check.all_damage() for check in annotations.reported):
        text += ", DAMAGE REPORTED"
    return text


def _parts(manifest: Manifest) -> str:
    """Return a table cell with the names of databases and trees: ``default, uploads (failed)``."""
    parts = [(_with_kind(part), part.state) for part in manifest.databases]
    parts += [(part.name, part.state) for part in manifest.trees]
    return ", ".join(name if state == COMPLETE else f"{name} ({state})" for name, state in parts)


def _with_kind(part: DatabasePart) -> str:
    facts = [part.chunked.kind] if part.chunked else []
    if part.started - part.as_of > LAG:
        facts.append(f"standby, data of {part.as_of:%Y-%m-%d %H:%M} UTC")
    return f"{part.alias} ({', '.join(facts)})" if facts else part.alias
