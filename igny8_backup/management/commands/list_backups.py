"""``manage.py list_backups``: what there is."""

from __future__ import annotations

import io
import shutil
from typing import Any

from rich.console import Console
from rich.table import Table

from igny8_backup.catalog import Entry
from igny8_backup.journal import Journal
from igny8_backup.management.base import BackupCommand
from igny8_backup.manifest import COMPLETE, Manifest
from igny8_backup.operations.assembly import assemble
from igny8_backup.words import age_in_words, size_in_words


class Command(BackupCommand):
    help = "List the backups in storage, newest first. Needs no key."
    examples = "  manage.py list_backups\n  manage.py list_backups --json"

    def work(self, **options: Any) -> int:
        with self.progress() as shown, assemble(progress=shown) as kit:
            entries = kit.catalog.entries()
            journals = kit.journals.all()
            now, where = kit.clock(), kit.store.describe()
        self.show_json(
            [{"id": entry.id, "manifest": entry.manifest, "problem": entry.problem} for entry in entries]
        )
        if not entries:
            self.say(f"There is no backup in {where}. Make one: python manage.py backup_all")
        elif not self.json:
            self._table(entries, now)
            self.say(f"{len(entries)} in {where}")
        for journal in journals:
            self.say(_state(journal))
        return 0

    def _table(self, entries: list[Entry], now: Any) -> None:
        table = Table(box=None, pad_edge=False, header_style="")
        for name in ("ID", "AGE", "HOST", "HOLDS", "STORED", "STATE", "LABEL"):
            table.add_column(name, no_wrap=name == "ID", justify="right" if name == "STORED" else "left")
        for entry in entries:
            found = entry.manifest
            if found is None:
                table.add_row(entry.id, "", "", "", "", f"UNREADABLE: {entry.problem}", "")
                continue
            state = ("complete" if found.complete else "INCOMPLETE") + ("" if found.encrypted else ", plain")
            table.add_row(
                entry.id,
                age_in_words(found.started, now),
                found.host,
                holds(found),
                size_in_words(found.stored_bytes),
                state,
                found.label,
            )
        width = shutil.get_terminal_size((140, 24)).columns
        text = io.StringIO()
        Console(file=text, width=max(width, 100), highlight=False, markup=False).print(table)
        self.say("\n".join(line.rstrip() for line in text.getvalue().splitlines()))


def holds(manifest: Manifest) -> str:
    """``default, sites-data, uploads (failed)``."""
    names = [(part.alias, part.state) for part in manifest.databases]
    names += [(part.name, part.state) for part in manifest.trees]
    return ", ".join(name if state == COMPLETE else f"{name} ({state})" for name, state in names)


def _state(journal: Journal) -> str:
    when = f"{journal.started:%Y-%m-%d %H:%M:%S} UTC"
    if journal.phase == "done":
        return f"Restored {when} from {', '.join(journal.backup_ids)}; what was before is kept: undo_restore."
    if journal.phase == "undone":
        return f"The restore of {when} was undone; its data is kept until undo_restore --discard."
    return (
        f"UNFINISHED: the restore of {when} stopped while {journal.phase}. Run restore_all or undo_restore."
    )
