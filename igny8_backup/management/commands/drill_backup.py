"""``manage.py drill_backup``: restore a backup to scratch databases and folders, compare and measure."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from igny8_backup.errors import IntegrityError
from igny8_backup.humanize import duration_in_words
from igny8_backup.management.base import BackupCommand, add_identity_argument, add_wait_argument
from igny8_backup.operations.context import open_context
from igny8_backup.operations.drill.run import DrillRequest, drill


class Command(BackupCommand):
    help = (
        "Practise a restore: restore a backup to scratch databases and folders, compare the result with\n"
        "what was backed up, measure the time, and remove the copy again. Nothing live is changed."
    )
    examples = (
        "  manage.py drill_backup --identity igny8-backup.key                 the newest backup\n"
        "  manage.py drill_backup 20261122T021500Z-7f3a9c --identity igny8-backup.key\n"
        "  manage.py drill_backup --no-owner --identity igny8-backup.key      the roles do not exist here"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("id", metavar="ID", nargs="?", default="", help="A backup. Default: the newest.")
        add_identity_argument(parser)
        text = "Make the restoring role the owner of everything."
        parser.add_argument("--no-owner", dest="owners", action="store_false", help=text)
        add_wait_argument(parser)
        self.add_ping_argument(parser)

    def work(self, **options: Any) -> int:
        request = DrillRequest(
            backup_id=options["id"], identity_file=options["identity"], owners=options["owners"]
        )
        with self.reported(options) as report:
            with open_context(progress=report, wait=options["wait"]) as context:
                result = drill(context, request)
            report.cover(result.check.id)
            if result.findings or result.unrecorded:
                report.fail(*result.problems(), reason="damage" if result.findings else "unrecorded")
        check = result.check
        took = check.finished - check.started
        self.show_json({**vars(result), "seconds": took.total_seconds()})
        for finding in result.findings:
            self.warn(f"  {finding.damage.kind.upper()}: {finding.damage.key}: {finding.text}")
        if result.unrecorded:
            self.warn(f"The result could not be recorded: {result.unrecorded}")
        if result.findings:
            raise IntegrityError(
                f"Backup {check.id} differs from what was backed up when it is restored; see above.",
                unchanged="Nothing live was changed.",
                hint="Make a new backup now, and drill that one.",
            )
        restored = f"Backup {check.id} was restored in {duration_in_words(took, units=2)}"
        self.say(f"{restored} and matches what was backed up. The copy was removed.")
        return 3 if result.unrecorded else 0
