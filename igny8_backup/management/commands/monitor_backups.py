"""``manage.py monitor_backups``: check the health of the backups."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from igny8_backup.common.humanize import count_in_words
from igny8_backup.errors import FilesError, UnhealthyError
from igny8_backup.management.base import BackupCommand
from igny8_backup.management.prometheus import write_metrics
from igny8_backup.operations.context import open_context
from igny8_backup.operations.monitor.summary import send_summary
from igny8_backup.operations.notify.alarms import Alarm
from igny8_backup.operations.status.refresh import refresh_status


class Command(BackupCommand):
    help = (
        "Check whether the backups are recent, complete, of the usual size and verified.\n"
        "Exits with status 7 if a condition is not met."
    )
    examples = (
        "  manage.py monitor_backups           one line for each condition\n"
        "  manage.py monitor_backups --json    the result as JSON, for scripts\n"
        "  manage.py monitor_backups --prometheus /var/lib/node_exporter/igny8_backup.prom\n"
        "  manage.py monitor_backups --summary    also notify the services in NOTIFY that all is well, or not"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        text = "Also write metrics for the textfile collector of Prometheus."
        parser.add_argument("--prometheus", type=Path, metavar="FILE", help=text)
        text = "Send the summary to the services in NOTIFY now, even if NOTIFY_SUMMARY sends none yet."
        parser.add_argument("--summary", action="store_true", help=text)
        self.add_ping_argument(parser)

    def work(self, **options: Any) -> int:
        unwritten: FilesError | None = None
        with self.reported(options) as report:
            with open_context(progress=report, brief=True) as context:
                health = refresh_status(context)
                if problem := send_summary(context.config, health, now=options["summary"]):
                    report.note(problem)
            if options["prometheus"]:
                try:
                    write_metrics(options["prometheus"], health)
                except FilesError as error:
                    unwritten = error
            alarms = [*health.alarms, *[Alarm("metrics", "not written")] * bool(unwritten)]
            if alarms:
                report.fail(*health.problems(), *[str(unwritten)] * bool(unwritten), alarms=alarms)
        self.show_json({"healthy": not health.failed, **vars(health)})
        for item in health.conditions:
            self.say(f"{'OK' if item.ok else 'FAILED':<7} {item.name}, {item.of}: {item.text}")
        if health.failed:
            if unwritten:
                self.warn(str(unwritten))
            raise UnhealthyError(
                f"{len(health.failed)} of {count_in_words(len(health.conditions), 'condition')} FAILED.",
                hint='The FAILED lines say why. For what to do, see "Monitor backups" in the documentation.',
            )
        if unwritten:
            raise unwritten
        return 0
