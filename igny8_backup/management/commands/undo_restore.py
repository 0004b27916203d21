"""``manage.py undo_restore``: swap the previous data back after a restore, or delete it."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from igny8_backup.humanize import count_in_words
from igny8_backup.journal import UNDONE
from igny8_backup.management.base import BackupCommand, add_wait_argument
from igny8_backup.management.confirm import require_typed
from igny8_backup.management.restore.result_text import journal_as_json, result_as_json
from igny8_backup.management.restore.workers import add_worker_options, worker_policy
from igny8_backup.operations.context import open_context
from igny8_backup.operations.restore.undo import discard_all, finished_restores, undo


class Command(BackupCommand):
    help = (
        "Bring back the data from before the newest restore, or with --discard delete what restores keep.\n"
        "Stop the application, its workers and beat before undoing a restore."
    )
    examples = (
        "  manage.py undo_restore                      swap back; the restored data is kept\n"
        "  manage.py undo_restore --stop-workers       let Celery workers finish and stop them first\n"
        "  manage.py undo_restore --discard            delete all that restores have kept, after asking\n"
        "  manage.py undo_restore --discard --noinput  without a question"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add_worker_options(parser).add_argument(
            "--discard", action="store_true", help="Delete what restores have kept, for good."
        )
        add_wait_argument(parser)
        parser.add_argument("--noinput", action="store_false", dest="interactive", help="Ask no question.")

    def work(self, **options: Any) -> int:
        policy = worker_policy(options)
        with self.progress() as shown, open_context(progress=shown, wait=options["wait"]) as context:
            context = context.when_free("undoing a restore")
            if options["discard"]:
                stamps = ", ".join(item.stamp for item in finished_restores(context))
                if stamps and options["interactive"]:
                    question = f"Delete what the restores {stamps} have kept? Type discard: "
                    what = "Deleting the data that restores have kept"
                    require_typed(self, options, "discard", question=question, what=what)
                removed = discard_all(context)
                self.show_json({"discarded": [journal_as_json(item) for item in removed]})
                self.say(f"Deleted what {count_in_words(len(removed), 'restore')} had kept.")
                return 0
            result = undo(context, policy)
        self.show_json(result_as_json(result))
        journal = result.journal
        if journal.phase == UNDONE:
            self.say("The data from before the restore is live again.")
            for swap in journal.databases:
                self.say(f"  database {swap.name}: the restored database is kept as {swap.staging}")
            for tree in journal.trees:
                self.say(f"  files {tree.name}: the restored files are kept in {tree.previous}")
            if result.stopped:
                self.say(f"Stopped these Celery workers; start them again: {', '.join(result.stopped)}.")
            self.warn(*(f"WARNING: {warning}" for warning in result.warnings))
            self.say("Next: start the application, its workers and beat again.")
            self.say("To free the space: python manage.py undo_restore --discard")
        else:
            self.say("The interrupted restore had changed nothing live.")
            self.say("Next: start the application, its workers and beat again.")
        return 3 if result.warnings else 0
