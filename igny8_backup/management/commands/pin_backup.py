"""``manage.py pin_backup``: exempt one backup from the retention policy."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from igny8_backup.management.base import BackupCommand
from igny8_backup.management.options.from_storage import add_from_storage_argument
from igny8_backup.management.options.wait import add_wait_argument
from igny8_backup.operations.context import open_context
from igny8_backup.operations.maintain.pin import pin, unpin


class Command(BackupCommand):
    help = "Keep a backup, whatever the retention policy says, until it is unpinned."
    examples = (
        '  manage.py pin_backup 20261122T021500Z-7f3a9c --reason "before the move to billing 2"\n'
        "  manage.py pin_backup 20261122T021500Z-7f3a9c --unpin"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("id", metavar="ID", help="An id that list_backups shows.")
        choice = parser.add_mutually_exclusive_group(required=True)
        choice.add_argument("--reason", help="Why the backup is kept. show_backup shows the reason.")
        text = "Apply the retention policy to the backup again."
        choice.add_argument("--unpin", action="store_true", help=text)
        add_from_storage_argument(parser, "Pin the backup in")
        add_wait_argument(parser)

    def work(self, **options: Any) -> int:
        backup_id, alias = options["id"], options["from_storage"]
        with (
            self.progress() as shown,
            open_context(progress=shown, wait=options["wait"], storage_alias=alias, changing=True) as context,
        ):
            if options["unpin"]:
                made = None
                unpin(context, backup_id)
                self.say(f"Backup {backup_id} is no longer pinned: the retention policy applies to it again.")
            else:
                made = pin(context, backup_id, options["reason"])
                self.say(f"Backup {backup_id} is pinned: {made.reason}")
        self.show_json({"id": backup_id, "pin": made})
        return 0
