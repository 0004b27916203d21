"""``manage.py backup_fleet``: back up all hosts that ``HOSTS`` declares, as one backup."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from igny8_backup.celery.send import send_task
from igny8_backup.conf import get_config
from igny8_backup.formats.documents.fleet import FleetPart, FleetRecord
from igny8_backup.management.base import BackupCommand, seconds
from igny8_backup.management.options.wait import add_wait_argument, wait_of
from igny8_backup.operations.context import open_context
from igny8_backup.operations.fleet.coordinate import run_fleet
from igny8_backup.operations.fleet.hosts import note_problems
from igny8_backup.operations.fleet.request import END_WITHIN, START_WITHIN, FleetRequest


class Command(BackupCommand):
    help = (
        "Back up several hosts as one backup: each Celery worker backs up the databases or files of its host."
    )
    examples = (
        "  manage.py backup_fleet                    all hosts in HOSTS that have a queue\n"
        "  manage.py backup_fleet web-1 web-2        only these\n"
        "  manage.py backup_fleet --start-within 300 give up hosts that have not begun after 5 minutes"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("hosts", nargs="*", metavar="HOST", help="Hosts in HOSTS. Default: all.")
        parser.add_argument("--label", default="", help="A label for the backup, for example before-0042.")
        parser.add_argument("--full", action="store_true", help="Read and store every file again.")
        parser.add_argument("--logs", action="store_true", help="Also back up the trees in LOGS.")
        for option, default, text in (
            (
                "--start-within",
                START_WITHIN,
                "Give up a host that has not begun its part after this time, at least 60.",
            ),
            ("--end-within", END_WITHIN, "Give up the parts that have not ended after this time."),
        ):
            parser.add_argument(
                option,
                type=seconds,
                default=default.total_seconds(),
                metavar="SECONDS",
                help=f"{text} Default: {default.total_seconds():.0f}.",
            )
        add_wait_argument(parser, unattended=True)
        self.add_ping_argument(parser)

    def work(self, **options: Any) -> int:
        with self.reported(options) as report:
            request = FleetRequest(
                hosts=tuple(dict.fromkeys(options["hosts"])),
                logs=options["logs"],
                full=options["full"],
                label=options["label"],
                start_within=timedelta(seconds=options["start_within"]),
                end_within=timedelta(seconds=options["end_within"]),
            )
            config = get_config()
            report.cover(*(f"{part.host}/{name}" for part in request.parts(config) for name in part.names))
            note_problems(config, report, request.hosts)
            with open_context(progress=report, writing=True, wait=wait_of(options)) as context:
                result = run_fleet(context, request, send_task)
                where = context.store.describe()
            if not result.complete:
                report.fail(*result.problems(), alarms=result.alarms)
        self.show_json({"fleet": result.record})
        self.say(*_lines(result.record))
        self.warn(*(f"  {line}" for line in result.problems()))
        self.say(f"Fleet backup {result.record.id} is in {where}: {result.record.outcome}.")
        return 0 if result.complete else 3


def _lines(record: FleetRecord) -> list[str]:
    parts = [part for part in record.parts if part.backup_id and not part.reason]
    width = max((len(part.describe()) for part in parts), default=0)
    return [_line(part, width) for part in parts]


def _line(part: FleetPart, width: int) -> str:
    return f"  {part.describe():{width}}  backup {part.backup_id}"
