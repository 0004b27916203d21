"""``manage.py list_backups``: list the backups in storage."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser
from typing import Any

from igny8_backup.catalog.annotations import read_annotations
from igny8_backup.formats.annotations import Annotations
from igny8_backup.management.backup_text import backup_table, orphan_lines, orphans_text, restore_line
from igny8_backup.management.base import BackupCommand
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.drill.scratch import killed_drills
from igny8_backup.operations.maintain.orphans import find_orphans


class Command(BackupCommand):
    help = "List the backups in storage, newest first. Needs no key."
    examples = (
        "  manage.py list_backups\n"
        "  manage.py list_backups --json       the result as JSON, for scripts\n"
        "  manage.py list_backups --orphans    objects that failed and interrupted runs left in storage"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        text = "List objects that belong to no backup instead."
        parser.add_argument("--orphans", action="store_true", help=text)
        parser.add_argument("--litter", action="store_true", dest="orphans", help=SUPPRESS)

    def work(self, **options: Any) -> int:
        with self.progress() as shown, open_context(progress=shown) as context:
            return self._list_orphans(context) if options["orphans"] else self._list_backups(context)

    def _list_backups(self, context: BackupContext) -> int:
        entries, annotations = context.catalog.entries(), read_annotations(context.store)
        journals, killed = context.journals.all(), killed_drills(context)
        where = context.store.describe()
        self.show_json([{**vars(item), **vars(annotations.get(item.id, Annotations()))} for item in entries])
        if not entries:
            self.say(f"There is no backup in {where}. Make one: python manage.py backup_all")
        elif not self.json:
            self.say_text(backup_table(entries, annotations, context.clock()))
            self.say(f"{len(entries)} in {where}")
        self.say(*map(restore_line, journals))
        for stamp in killed:
            self.say(
                f"KILLED: the drill of {stamp} left its scratch databases and folders. The next drill_backup"
                " or prune_backups removes them."
            )
        return 0

    def _list_orphans(self, context: BackupContext) -> int:
        report = find_orphans(context)
        shown = {key: value for key, value in vars(report).items() if key != "orphans"}
        self.show_json({"litter": report.orphans, **shown})
        self.say(*orphan_lines(report, context.clock()))
        self.say(f"{orphans_text(report.orphans)} in {context.store.describe()}")
        return 0
