"""``manage.py list_backups``: list the backups in storage."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from igny8_backup.annotation_store import read_annotations
from igny8_backup.catalog import Entry
from igny8_backup.formats.annotations import Annotations
from igny8_backup.formats.manifest import COMPLETE, Manifest
from igny8_backup.humanize import age_in_words, count_in_words, size_in_words
from igny8_backup.journal import PREPARING, SWAPPING, Journal
from igny8_backup.management.base import BackupCommand
from igny8_backup.management.tables import table
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.drill.scratch import killed_drills
from igny8_backup.operations.maintain.orphans import OrphanObject, find_orphans


class Command(BackupCommand):
    help = "List the backups in storage, newest first. Needs no key."
    examples = (
        "  manage.py list_backups\n"
        "  manage.py list_backups --json\n"
        "  manage.py list_backups --litter   objects that failed and interrupted runs left in storage"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--litter", action="store_true", help="List objects that belong to no backup instead."
        )

    def work(self, **options: Any) -> int:
        with self.progress() as shown, open_context(progress=shown) as context:
            if options["litter"]:
                return self._orphans(context)
            entries, annotations = context.catalog.entries(), read_annotations(context.store)
            journals, killed = context.journals.all(), killed_drills(context)
            now, where = context.clock(), context.store.describe()
        self.show_json(
            [
                {
                    "id": entry.id,
                    "manifest": entry.manifest,
                    "problem": entry.problem,
                    **vars(annotations.get(entry.id, Annotations())),
                }
                for entry in entries
            ]
        )
        if not entries:
            self.say(f"There is no backup in {where}. Make one: python manage.py backup_all")
        elif not self.json:
            self._table(entries, annotations, now)
            self.say(f"{len(entries)} in {where}")
        for journal in journals:
            self.say(_state(journal))
        for stamp in killed:
            self.say(
                f"KILLED: the drill of {stamp} left its scratch databases and folders. The next drill_backup"
                " or prune_backups removes them."
            )
        return 0

    def _table(self, entries: list[Entry], annotations: dict[str, Annotations], now: datetime) -> None:
        rows = []
        for entry in entries:
            found = entry.manifest
            if found is None:
                rows.append((entry.id, "", "", "", "", f"UNREADABLE: {entry.problem}", ""))
                continue
            age, size = age_in_words(found.started, now), size_in_words(found.stored_bytes)
            state = ("complete" if found.complete else "INCOMPLETE") + ("" if found.encrypted else ", plain")
            state += _annotation_text(annotations.get(entry.id, Annotations()))
            rows.append((entry.id, age, found.host, holds(found), size, state, found.label))
        self.say(table(("ID", "AGE", "HOST", "HOLDS", "STORED", "STATE", "LABEL"), rows))

    def _orphans(self, context: BackupContext) -> int:
        report, now = find_orphans(context), context.clock()
        self.show_json(
            {"litter": report.orphans, **{k: v for k, v in vars(report).items() if k != "orphans"}}
        )
        lists = {"litter": report.orphans, "in use": report.in_use, "doubtful": report.doubtful}
        rows = [_row(item, state, now) for state, items in lists.items() for item in items]
        if rows:
            self.say(table(("STORED", "AGE", "STATE", "KEY"), rows))
        for entry in report.unreadable:
            self.say(f"UNREADABLE: {entry.id}: {entry.problem}")
        size = size_in_words(sum(item.size or 0 for item in report.orphans))
        amount = count_in_words(len(report.orphans), "piece")
        self.say(f"{amount} of litter ({size}) in {context.store.describe()}")
        return 0


def _row(item: OrphanObject, state: str, now: datetime) -> tuple[str, ...]:
    size = "" if item.size is None else size_in_words(item.size)
    age = age_in_words(item.modified, now) if item.modified else ""
    return size, age, state, f"{item.key} (unfinished upload)" if item.upload_id else item.key


def _annotation_text(annotations: Annotations) -> str:
    """``, pinned, stored checked 2026-11-22``."""
    found = ", pinned" if annotations.pin else ""
    for check in annotations.checks:
        result = "DAMAGED" if check.damage else "checked"
        found += f", {check.depth} {result} {check.started:%Y-%m-%d}"
    return found


def holds(manifest: Manifest) -> str:
    """``default, sites-data, uploads (failed)``."""
    names = [(part.alias, part.state) for part in manifest.databases]
    names += [(part.name, part.state) for part in manifest.trees]
    return ", ".join(name if state == COMPLETE else f"{name} ({state})" for name, state in names)


def _state(journal: Journal) -> str:
    when = f"{journal.started:%Y-%m-%d %H:%M:%S} UTC"
    if journal.phase == "done":
        return (
            f"Restored {when} from {', '.join(journal.backup_ids)}; the previous data is kept: undo_restore."
        )
    if journal.phase == "undone":
        return f"The restore of {when} was undone; the restored data is kept until undo_restore --discard."
    what = f"UNFINISHED: the restore of {when} from {', '.join(journal.backup_ids)}"
    if journal.phase == PREPARING:
        left = [swap.staging for swap in journal.databases]
        left += [f"the new files in {tree.root}" for tree in journal.trees]
        return (
            f"{what} was interrupted before it changed anything live. The next restore_all or undo_restore"
            f" removes what it left: {'; '.join(left)}."
        )
    if journal.phase == SWAPPING:
        return f"{what} was interrupted during the swap. restore_all completes it, undo_restore undoes it."
    return f"{what} was being undone and was interrupted. undo_restore or restore_all completes the undo."
