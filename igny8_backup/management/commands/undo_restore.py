"""``manage.py undo_restore``: swap the previous data back after a restore, or delete what restores keep."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import replace
from typing import Any

from igny8_backup.common.humanize import count_in_words
from igny8_backup.formats.documents.fleet_restore import UNDO
from igny8_backup.management.base import BackupCommand
from igny8_backup.management.confirm import confirm_vanishing, require_typed
from igny8_backup.management.options.wait import add_wait_argument
from igny8_backup.management.restore import fleet
from igny8_backup.management.restore.options import not_empty, refuse_options
from igny8_backup.management.restore.result_text import excluded_lines, journal_as_json, undo_result_as_json
from igny8_backup.management.restore.undo_text import (
    discard_lines,
    discard_plan_as_json,
    show_undo_result,
    undo_plan_as_json,
    undo_plan_lines,
)
from igny8_backup.management.restore.workers import add_worker_options, worker_policy
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.restore.workers import WorkersPolicy
from igny8_backup.operations.undo.discard import discard, plan_discard
from igny8_backup.operations.undo.plan import plan_undo
from igny8_backup.operations.undo.run import undo


class Command(BackupCommand):
    help = (
        "Bring back the data from before the newest restore, or with --discard delete what restores keep.\n"
        "If it is run again, it brings back what it has replaced. First stop the application, its workers\n"
        "and beat."
    )
    examples = (
        "  manage.py undo_restore                               swap back; the restored data is kept\n"
        "  manage.py undo_restore --dry-run                     show what would be live afterwards\n"
        "  manage.py undo_restore 20261122T174258Z              undo or redo this restore\n"
        "  manage.py undo_restore --stop-workers                let Celery workers finish, stop them first\n"
        "  manage.py undo_restore --discard                     delete all that restores keep, after asking\n"
        "  manage.py undo_restore --discard 20261122T174258Z    delete what this restore keeps\n"
        "  manage.py undo_restore --discard --noinput           without a question\n"
        "  manage.py undo_restore --fleet                       undo the last fleet restore on all hosts"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        text = "The restore to undo, redo or discard. Default: the last one, or with --discard all."
        parser.add_argument("stamp", nargs="?", type=not_empty, metavar="STAMP", help=text)
        add_worker_options(parser).add_argument(
            "--discard", action="store_true", help="Delete what restores have kept, for good."
        )
        # A dry run takes no lock, so it never waits.
        exclusive = parser.add_mutually_exclusive_group()
        exclusive.add_argument("--dry-run", action="store_true", help="Show the plan and change nothing.")
        add_wait_argument(exclusive)
        parser.add_argument("--noinput", action="store_false", dest="interactive", help="Ask no question.")
        text = "Confirm that this database may be missing afterwards. Repeat for each database."
        parser.add_argument("--database-name", action="append", default=[], metavar="NAME", help=text)
        fleet.add_fleet_options(parser)
        self._parser = parser

    def work(self, **options: Any) -> int:
        fleet.refuse_without_fleet(options)
        policy = worker_policy(options)
        if options["join"]:
            return fleet.join(self, self._parser, options)
        if options["fleet"]:
            return fleet.coordinate(self, self._parser, options, policy, UNDO)
        if options["discard"]:
            refuse_options(options, "--database-name", because="cannot be combined with --discard")
        with self.progress() as shown, open_context(progress=shown, wait=options["wait"]) as context:
            if not options["dry_run"]:
                # Even without --wait: a plan that is made while another restore runs would be wrong.
                with context.locked("undoing a restore", storage=False):
                    context = replace(context, wait=0)
            return (
                self._discard(context, options)
                if options["discard"]
                else self._undo(context, options, policy)
            )

    def _undo(self, context: BackupContext, options: dict[str, Any], policy: WorkersPolicy) -> int:
        plan = plan_undo(context, options["stamp"] or "")
        as_json = undo_plan_as_json(plan)
        if not self.show_plan(plan, undo_plan_lines(plan), as_json, dry_run=options["dry_run"]):
            return 0
        confirm_vanishing(self, plan, options)
        result = undo(context, policy, plan=plan)
        self.show_json(undo_result_as_json(result))
        return show_undo_result(self, result)

    def _discard(self, context: BackupContext, options: dict[str, Any]) -> int:
        stamps = [options["stamp"]] if options["stamp"] else []
        plan = plan_discard(context, stamps)
        as_json = discard_plan_as_json(plan)
        if not self.show_plan(plan, discard_lines(plan), as_json, dry_run=options["dry_run"]):
            return 0
        for journal in plan.journals:
            self.warn(*excluded_lines(journal))
        named = [journal.stamp for journal in plan.journals]
        if options["interactive"]:
            question = f"Delete what the restores {', '.join(named)} have kept? Type discard: "
            if not named:
                question = "Release the safety copies? Type discard: "
            what = "Deleting the data that restores have kept"
            require_typed(self, options, "discard", question=question, what=what)
        done = discard(context, plan)
        released = [manifest.id for manifest in done.safety]
        discarded = [journal_as_json(item) for item in done.journals]
        self.show_json({"discarded": discarded, "released": released})
        if discarded:
            self.say(f"Deleted the data that {count_in_words(len(discarded), 'restore')} had kept.")
        if released:
            self.say(
                f"Released these safety copies: {', '.join(released)}. prune_backups may remove them now."
            )
        return 0
