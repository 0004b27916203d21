"""``manage.py prune_backups``: apply the retention policy and remove orphaned objects."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from igny8_backup.humanize import age_in_words, count_in_words
from igny8_backup.management.backup_text import orphans_text
from igny8_backup.management.base import BackupCommand, add_wait_argument
from igny8_backup.management.tables import table
from igny8_backup.operations.context import open_context
from igny8_backup.operations.maintain.prune import prune
from igny8_backup.retention import Verdict


class Command(BackupCommand):
    help = "Remove the backups that the setting RETENTION does not keep, and objects that failed runs left."
    examples = (
        "  manage.py prune_backups --dry-run    show what would be removed, and why the rest is kept\n"
        "  manage.py prune_backups              remove it\n"
        "  manage.py prune_backups --json       the result as JSON, for scripts"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        # A dry run takes no lock, so it never waits.
        exclusive = parser.add_mutually_exclusive_group()
        text = "Show what would be removed, and remove nothing."
        exclusive.add_argument("--dry-run", action="store_true", help=text)
        add_wait_argument(exclusive)
        self.add_ping_argument(parser)

    def work(self, **options: Any) -> int:
        with self.reported(options) as report:
            with open_context(progress=report, wait=options["wait"]) as context:
                result = prune(context, dry_run=options["dry_run"])
                now = context.clock()
            if not result.complete:
                report.fail(*result.problems(), alarms=result.alarms)
        self.show_json({"dry_run": options["dry_run"], **vars(result)})
        rows = [
            (item.id, age_in_words(item.started, now), "keep" if item.keep else "REMOVE", why)
            for item in result.plan.verdicts
            for why in _reasons(item)
        ]
        if rows:
            self.say_text(table(("ID", "AGE", "", "WHY"), rows))
        would = "would be " if options["dry_run"] else ""
        self.say(f"{count_in_words(len(result.removed), 'backup')} {would}removed.")
        self.say(
            f"{orphans_text(result.swept)} {would}removed, {orphans_text(result.waiting)} left for later."
        )
        self.warn(*result.problems())
        return 0 if result.complete else 3


def _reasons(item: Verdict) -> list[str]:
    """Return the reasons to keep a backup, one a line.

    Reasons for the whole backup come first, then a line for each group of databases and trees with the same
    reasons.
    """
    if not item.keep:
        return ["no rule keeps it"]
    parts: dict[tuple[str, ...], list[str]] = {}
    for copy in item.copies:
        if copy.reasons:
            parts.setdefault(copy.reasons, []).append(copy.part.name)
    lines = [f"{', '.join(names)}: {', '.join(reasons)}" for reasons, names in parts.items()]
    return [*item.reasons, *lines]
