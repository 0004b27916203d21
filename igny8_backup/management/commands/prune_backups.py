"""``manage.py prune_backups``: apply the retention policy and remove orphaned objects."""

from __future__ import annotations

from argparse import ArgumentParser
from contextlib import AbstractContextManager
from typing import Any

from igny8_backup.common.humanize import age_in_words, count_in_words
from igny8_backup.management.base import BackupCommand
from igny8_backup.management.confirm import confirm_removal
from igny8_backup.management.options.from_storage import add_from_storage_argument
from igny8_backup.management.options.wait import add_wait_argument, wait_of
from igny8_backup.management.orphan_text import orphans_text
from igny8_backup.management.tables import table
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.copies.heal import Healed, heal
from igny8_backup.operations.maintain.pruning.locked import locked_lines
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.maintain.pruning.untrusted import (
    UntrustedResult,
    remove_untrusted,
    untrusted_backups,
)
from igny8_backup.operations.progress import Progress
from igny8_backup.retention.policy import Verdict
from igny8_backup.standing import SUSPECT


class Command(BackupCommand):
    help = "Remove the backups that the setting RETENTION does not keep, and objects that failed runs left."
    examples = (
        "  manage.py prune_backups --dry-run    show what would be removed, and why the rest is kept\n"
        "  manage.py prune_backups              remove it\n"
        "  manage.py prune_backups --json       the result as JSON, for scripts\n"
        "  manage.py prune_backups --untrusted  list backups without a trusted signature, ask, remove them\n"
        "  manage.py prune_backups --from-storage offsite    prune a copy, by the retention of that copy"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        # A dry run takes no lock, so it never waits.
        exclusive = parser.add_mutually_exclusive_group()
        text = "Show what would be removed, and remove nothing."
        exclusive.add_argument("--dry-run", action="store_true", help=text)
        add_wait_argument(exclusive, unattended=True)
        text = (
            "Remove instead the backups without a signature that TRUSTED covers. Lists them, and asks on the"
            " terminal; with --dry-run, only lists them."
        )
        parser.add_argument("--untrusted", action="store_true", help=text)
        add_from_storage_argument(parser, "Prune the backups in")
        self.add_ping_argument(parser)

    def work(self, **options: Any) -> int:
        if options["untrusted"]:
            return self._remove_untrusted(options)
        with self.reported(options) as report:
            with _opened(options, report) as context:
                healed = Healed() if options["dry_run"] else heal(context)
                result = prune(context, dry_run=options["dry_run"])
                now = context.clock()
            if not result.complete:
                report.fail(*result.problems(), alarms=result.alarms)
        self.show_json({"dry_run": options["dry_run"], **vars(result), **vars(healed)})
        self.say(*healed.lines())
        rows = []
        for item in result.plan.verdicts:
            named = (item.id, age_in_words(item.started, now), "keep" if item.keep else "REMOVE")
            for why in _reasons(item):
                rows.append((*named, why))
                named = ("", "", "")
        if rows:
            self.say_text(table(("ID", "AGE", "", "WHY"), rows))
        would = "would be " if options["dry_run"] else ""
        self.say(f"{count_in_words(len(result.removed), 'backup')} {would}removed.")
        self.say(
            f"{orphans_text(result.swept)} {would}removed, {orphans_text(result.waiting)} left for later."
        )
        self.say(*locked_lines(result.locked))
        self.warn(*result.problems())
        return 0 if result.complete else 3

    def _remove_untrusted(self, options: dict[str, Any]) -> int:
        with self.progress() as shown, _opened(options, shown) as context:
            found = untrusted_backups(context)
            now = context.clock()
            rows = [
                (entry.id, age_in_words(entry.started, now), entry.manifest.host, entry.untrusted)
                for entry in found
                if entry.manifest
            ]
            if rows:
                self.say_text(table(("ID", "AGE", "HOST", "WHY IT IS NOT TRUSTED"), rows))
            result = UntrustedResult()
            if found and not options["dry_run"]:
                confirm_removal(self, len(found))
                result = remove_untrusted(context, [entry.id for entry in found])
        self.show_json({"dry_run": options["dry_run"], "untrusted": found, **vars(result)})
        self.say(f"{count_in_words(len(found), 'untrusted backup')}; {len(result.removed)} removed.")
        self.warn(*result.problems())
        return 3 if result.kept else 0


def _opened(options: dict[str, Any], progress: Progress) -> AbstractContextManager[BackupContext]:
    """Return a context for the storage to prune. Its locks are those of that storage."""
    alias = options["from_storage"]
    return open_context(progress=progress, wait=wait_of(options), storage_alias=alias, changing=True)


def _reasons(item: Verdict) -> list[str]:
    """Return the lines that say why a backup is kept, and which of its copies cannot be relied on.

    Reasons for the whole backup come first, then a line for each group of databases and trees with the same
    reasons, then a line for each copy that cannot be relied on.
    """
    copies = [copy for copy in item.copies if copy.unfit]
    unfit = [f"{copy.part.name} cannot be relied on: {_why(copy.unfit)}" for copy in copies]
    if not item.keep:
        return ["no rule keeps it", *unfit]
    parts: dict[tuple[str, ...], list[str]] = {}
    for copy in item.copies:
        if copy.reasons:
            reasons = (*["as if it were good"] * bool(copy.unfit), *copy.reasons)
            parts.setdefault(reasons, []).append(copy.part.name)
    lines = [f"{', '.join(names)}: {', '.join(reasons)}" for reasons, names in parts.items()]
    return [*item.reasons, *lines, *unfit]


def _why(unfit: str) -> str:
    """Return ``unfit``, which says why a copy cannot be relied on.

    For a suspect copy, the name of the command that accepts it is added.
    """
    waits = " (accept_backup accepts it)" if f"{SUSPECT}: " in unfit else ""
    return f"{unfit}{waits}"
