"""``manage.py spot_check``: compare a sample of what is live with the newest backup."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from igny8_backup.errors import UsageError
from igny8_backup.management.base import BackupCommand
from igny8_backup.management.spot_check_text import spot_lines
from igny8_backup.operations.context import open_context
from igny8_backup.operations.spot_check.judge import Tolerances
from igny8_backup.operations.spot_check.result import SpotRequest
from igny8_backup.operations.spot_check.run import spot_check
from igny8_backup.operations.verify.sample import parse_percent


class Command(BackupCommand):
    help = (
        "Compare a sample of the live files and tables of this host with its newest backup. An alarm stops\n"
        "prune_backups until accept_backup."
    )
    examples = (
        "  manage.py spot_check\n"
        "  manage.py spot_check uploads --gone 80%     up to four fifths of the files may have been deleted"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        text = "A database or tree. Default: all of this host, without logs."
        parser.add_argument("names", nargs="*", metavar="NAME", help=text)
        text = "Allow this share of the files in the backup to be gone. Default: 50%%."
        parser.add_argument("--gone", type=_percent, default=0.5, metavar="PERCENT", help=text)
        text = "Allow the backup to lack this share of the files that are older than it. Default: 50%%."
        parser.add_argument("--excluded", type=_percent, default=0.5, metavar="PERCENT", help=text)
        text = "Allow this share of the larger tables to have lost most rows. Default: 10%%."
        parser.add_argument("--rows", type=_percent, default=0.1, metavar="PERCENT", help=text)
        self.add_ping_argument(parser)

    def work(self, **options: Any) -> int:
        allowed = Tolerances(gone=options["gone"], excluded=options["excluded"], rows=options["rows"])
        request = SpotRequest(names=tuple(options["names"]), allowed=allowed)
        with self.reported(options) as report:
            with open_context(progress=report) as context:
                found = spot_check(context, request)
            report.cover(*(part.name for part in found.parts))
            if not found.complete:
                report.fail(*found.problems(), alarms=found.alarms)
        self.show_json({**vars(found), "complete": found.complete})
        self.say(*(line for part in found.parts if not part.problem for line in spot_lines(part)))
        self.warn(*found.problems())
        if found.findings:
            return 7
        return 0 if found.complete else 3


def _percent(text: str) -> float:
    try:
        return parse_percent(text) / 100
    except UsageError as error:
        raise ArgumentTypeError(error.what) from None
