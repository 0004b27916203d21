"""``manage.py restore_all``: the application as it was."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any

from igny8_backup.conf import STORAGE_ALIAS
from igny8_backup.humanize import count_in_words, size_from_words
from igny8_backup.journal import UNDONE, Journal
from igny8_backup.management import extract
from igny8_backup.management.base import BackupCommand
from igny8_backup.management.confirm import confirm
from igny8_backup.management.restore import in_place
from igny8_backup.management.restore.conflicts import require_no_wait
from igny8_backup.management.restore.options import add_change_options, given, overrides_from_options
from igny8_backup.management.restore.plan_text import plan_as_json, plan_lines, result_as_json
from igny8_backup.management.restore.workers import add_worker_options, policy_of
from igny8_backup.operations.context import open_context
from igny8_backup.operations.parts import ALL
from igny8_backup.operations.restore.plan import RestoreRequest
from igny8_backup.operations.restore.planner import plan_restore
from igny8_backup.operations.restore.run import RestoreResult, resume_restore, run_restore


class Command(BackupCommand):
    help = (
        "Restore databases and site files: beside what is live, checked and migrated, then swapped in.\n"
        "Stop the application, its workers and beat before. What was before is kept: undo_restore."
    )
    examples = (
        "  manage.py restore_all --dry-run --identity igny8-backup.key     show the plan, change nothing\n"
        "  manage.py restore_all --identity igny8-backup.key               the newest complete backup\n"
        "  manage.py restore_all 20261122T021500Z-7f3a9c --only db         one backup, the databases only\n"
        "  manage.py restore_all --stop-workers --purge-queue              stop workers, discard old tasks\n"
        "  manage.py restore_all --noinput --database-name igny8           without a question, for scripts\n"
        "  manage.py restore_all --from-storage production --sanitize      production's data, no people\n"
        "  manage.py restore_all --to-database igny8_copy                  another database, nothing live\n"
        "  manage.py restore_all --to-database rows --table billing_plan   one table, to copy rows from\n"
        "  manage.py restore_all --to-dir /data/found --path example.com   one site's folder"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "id", nargs="?", type=given, metavar="ID", help="Default: the newest complete one."
        )
        parser.add_argument("--only", default=ALL, metavar="db|files|NAME", help="A part; logs by name only.")
        parser.add_argument("--dry-run", action="store_true", help="Show the plan and stop.")
        parser.add_argument("--identity", type=Path, metavar="FILE", help="The private key.")
        self.add_wait_argument(parser)
        add_worker_options(parser)
        parser.add_argument(
            "--purge-queue",
            action="store_true",
            help="Discard the tasks that wait in the broker once all is restored, after asking.",
        )
        parser.add_argument(
            "--assume-space",
            type=_size,
            metavar="SIZE",
            help="What the volume of the database server has free, for example 200GB.",
        )
        parser.add_argument("--noinput", action="store_false", dest="interactive", help="Ask nothing.")
        parser.add_argument(
            "--database-name",
            action="append",
            default=[],
            metavar="NAME",
            help="A live database that may be replaced without its name being typed; repeat for each.",
        )
        parser.add_argument(
            "--in-place",
            action="store_true",
            help="Replace what is in the database itself, for roles that may not create databases.",
        )
        add_change_options(parser)
        extract.add_options(parser)
        parser.add_argument(
            "--allow-set-id",
            action="store_true",
            help="Bring back set-user-id and set-group-id bits and capabilities of files, as recorded.",
        )
        parser.add_argument(
            "--from-storage", default=STORAGE_ALIAS, metavar="ALIAS", help="Read from another of STORAGES."
        )
        personal = parser.add_mutually_exclusive_group()
        personal.add_argument("--sanitize", action="store_true", help="Run SANITIZERS before the swap.")
        personal.add_argument(
            "--keep-personal-data", action="store_true", help="In DEBUG: production's data as it is."
        )

    def work(self, **options: Any) -> int:
        if extract.is_asked_for(options):
            return extract.restore(self, options)
        require_no_wait(options)
        policy = policy_of(options)
        if options["in_place"]:
            return in_place.restore(self, options, policy)
        request = RestoreRequest(
            backup_id=options["id"] or "",
            only=options["only"],
            identity_file=options["identity"],
            workers=policy,
            assume_space=options["assume_space"],
            sanitize=options["sanitize"],
            keep_personal_data=options["keep_personal_data"],
            allow_set_id=options["allow_set_id"],
            changes=overrides_from_options(options),
        )
        alias, wait = options["from_storage"], options["wait"]
        with (
            self.progress() as shown,
            open_context(progress=shown, storage_alias=alias, wait=wait) as context,
        ):
            if not options["dry_run"]:
                context = context.when_free("a restore")
            result = None if options["dry_run"] else resume_restore(context)
            if result is None:
                plan = plan_restore(context, request)
                for line in plan_lines(plan):
                    self.say(line)
                if options["dry_run"]:
                    self.show_json(plan_as_json(plan))
                plan.require_feasible()
                if options["dry_run"]:
                    self.say("Dry run: nothing was changed.")
                    return 0
                confirm(self, plan, options)
                result = run_restore(context, plan)
        self.show_json(result_as_json(result))
        return self._show_result(result)

    def _show_result(self, result: RestoreResult) -> int:
        journal = result.journal
        if result.resumed:
            self.say(
                "The interrupted work is complete. Nothing else was done: run again for another restore."
            )
        if journal.phase == UNDONE:
            self.say("What was before the restore is live again.")
        else:
            self.say(f"Restored from {', '.join(journal.backup_ids)}.")
            for line in kept_lines(journal):
                self.say(f"  {line}")
        if result.stopped:
            self.say(f"Stopped: {', '.join(result.stopped)}.")
        if result.purged is not None:
            self.say(f"Discarded {count_in_words(result.purged, 'task')}.")
        for warning in result.warnings:
            self.warn(f"WARNING: {warning}")
        self.say("Next: start the application, its workers and beat again.")
        if journal.phase != UNDONE:
            self.say("To go back:             python manage.py undo_restore")
        self.say("When all is well, free the space: python manage.py undo_restore --discard")
        return 3 if result.warnings else 0


def _size(text: str) -> int:
    try:
        return size_from_words(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{error}.") from None


def kept_lines(journal: Journal) -> list[str]:
    """What is kept aside, for people."""
    lines = [
        f"database {swap.name}: what was before is {swap.before}"
        if swap.existed
        else f"database {swap.name}: created"
        for swap in journal.databases
    ]
    return lines + [f"files {tree.name}: what was before is in {tree.kept}" for tree in journal.trees]
