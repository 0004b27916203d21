"""``manage.py copy_backups``: copy backups to the storages in COPIES."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from igny8_backup.management.base import BackupCommand
from igny8_backup.management.copies import copy_lines, copy_problems
from igny8_backup.operations.context import open_context
from igny8_backup.operations.copies.run import choose_copies, copy_backups


class Command(BackupCommand):
    help = "Copy backups to the storages in COPIES, as they are: encrypted and signed. Needs no key."
    examples = (
        "  manage.py copy_backups                             what the copies lack\n"
        "  manage.py copy_backups --to offsite                one copy only\n"
        "  manage.py copy_backups 20261122T021500Z-7f3a9c     one backup, also if its copy was pruned\n"
        "  manage.py copy_backups --json                      the result as JSON, for scripts"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        text = "A backup. Default: every backup that the retention of the copy would keep."
        parser.add_argument("id", metavar="ID", nargs="?", default="", help=text)
        text = "Copy only to this copy. Repeat for more. Default: all copies in COPIES."
        parser.add_argument("--to", action="append", default=[], metavar="NAME", help=text)
        self.add_ping_argument(parser)

    def work(self, **options: Any) -> int:
        with self.reported(options) as report:
            with open_context(progress=report) as context:
                targets = choose_copies(context, options["to"])
                result = copy_backups(context, targets, backup_id=options["id"])
            if not result.complete:
                report.fail(*result.problems(), alarms=result.alarms)
        self.show_json({"complete": result.complete, **vars(result)})
        for copy in result.copies:
            self.say(*copy_lines(copy))
            self.warn(*copy_problems(copy))
        return 0 if result.complete else 3
