"""``manage.py report_backups``: write a report with the evidence that an auditor asks for."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from pathlib import Path
from typing import Any

from igny8_backup.common.filesystem import replace_file, require_replaceable
from igny8_backup.common.humanize import count_in_words
from igny8_backup.errors import FilesError, UsageError
from igny8_backup.management.base import BackupCommand
from igny8_backup.operations.context import open_context
from igny8_backup.operations.report.build import build_report
from igny8_backup.operations.report.page import render
from igny8_backup.operations.report.redact import redact


class Command(BackupCommand):
    help = (
        "Write a report to hand out: policy, backups, verifications, drills, recovery points and times,\n"
        "gaps. Needs no key, and changes nothing."
    )
    examples = (
        "  manage.py report_backups --html report.html             one page that needs no other file\n"
        "  manage.py report_backups --html report.html --redact    without names of hosts, databases, trees\n"
        "  manage.py report_backups --json --days 365              the last year, for scripts"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--html", type=Path, metavar="FILE", help="Write the report as an HTML page.")
        text = "Leave out the names of hosts, databases, trees and keys, and all free texts."
        parser.add_argument("--redact", action="store_true", help=text)
        text = "How far back gaps, failed runs and checks are reported. Default: 90."
        parser.add_argument("--days", type=_days, default=90, metavar="N", help=text)

    def work(self, **options: Any) -> int:
        if not options["html"] and not self.json:
            what = "Neither --html FILE nor --json is given, so there is nowhere to write the report."
            raise UsageError(what, unchanged="Nothing was read.", hint="Add --html report.html, or --json.")
        with self.progress() as shown, open_context(progress=shown) as context:
            report = build_report(context, timedelta(days=options["days"]))
        if options["redact"]:
            report = redact(report)
        if options["html"]:
            _write(options["html"], render(report))
        self.show_json(report)
        count, failed = count_in_words(report.conditions, "condition"), len(report.findings)
        state = f"{failed} of {count} are not met" if failed else f"all {count} are met"
        backups = count_in_words(len(report.backups), "backup")
        self.say(f"The report on {backups} is in {options['html']}; {state}.")
        return 0


def _write(file: Path, page: str) -> None:
    try:
        require_replaceable(file)
        replace_file(file, page.encode())
    except OSError as error:
        raise FilesError(
            f"The report could not be written to {file}: {error.strerror}.",
            unchanged="Nothing was changed.",
            hint="Give the path of a file in a folder that you may write to.",
        ) from None


def _days(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 36_500:
        raise ValueError(text)
    return number
