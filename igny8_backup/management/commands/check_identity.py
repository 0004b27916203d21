"""``manage.py check_identity``: find out which backups an identity (private key) opens."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from igny8_backup.common.humanize import count_in_words
from igny8_backup.management.base import BackupCommand
from igny8_backup.operations.context import open_context
from igny8_backup.operations.keys.identity_check import OPENED, check_identity


class Command(BackupCommand):
    help = "Find out which backups an identity (private key) opens. Nothing is restored."
    examples = (
        "  manage.py check_identity --identity igny8-backup.key     all backups\n"
        "  manage.py check_identity --identity igny8-backup.key 20261122T021500Z-7f3a9c"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        text = "An id that list_backups shows. Default: all."
        parser.add_argument("ids", nargs="*", metavar="ID", help=text)
        text = "The file with the private key. Default: the setting IDENTITY_FILE."
        parser.add_argument("--identity", type=Path, metavar="FILE", help=text)

    def work(self, **options: Any) -> int:
        with self.progress() as shown, open_context(progress=shown) as context:
            found = check_identity(context, options["identity"], tuple(options["ids"]))
        self.show_json({**vars(found), "complete": found.complete})
        self.say(*(f"{backup.id}  {backup.text()}" for backup in found.backups))
        opened = sum(backup.state == OPENED for backup in found.backups)
        self.say(
            f"The identity of {', '.join(found.recipients)} opens {opened} of"
            f" {count_in_words(len(found.backups), 'backup')}."
        )
        return 0 if found.complete else 3
