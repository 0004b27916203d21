"""``manage.py restore_all``: replace the live databases and files with those of a backup."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from typing import Any

from igny8_backup.errors import UsageError
from igny8_backup.humanize import size_from_words
from igny8_backup.management.base import BackupCommand
from igny8_backup.management.confirm import confirm
from igny8_backup.management.restore import in_place
from igny8_backup.management.restore.options import (
    add_override_options,
    add_personal_data_options,
    add_set_id_option,
    add_source_options,
    overrides_from_options,
)
from igny8_backup.management.restore.plan_text import plan_as_json, plan_lines, result_as_json, show_result
from igny8_backup.management.restore.workers import add_worker_options, policy_of
from igny8_backup.operations.context import open_context
from igny8_backup.operations.restore.plan import RestoreRequest
from igny8_backup.operations.restore.run import RestoreSession

MOVED = {
    "--to-database": "--to-database NAME",
    "--to-dir": "--to-dir DIR",
    "--table": "--to-database NAME --table TABLE",
    "--path": "--to-dir DIR --path GLOB",
    "--migrate": "--to-database NAME --migrate",
}
"""Former options of this command, and what ``extract_backup`` takes in their place."""


class Command(BackupCommand):
    help = (
        "Restore databases and site files: beside what is live, checked and migrated, then swapped in.\n"
        "Stop the application, its workers and beat before. The previous data is kept: see undo_restore.\n"
        "To restore beside the live data and leave it there, use extract_backup."
    )
    examples = (
        "  manage.py restore_all --dry-run --identity igny8-backup.key     show the plan, change nothing\n"
        "  manage.py restore_all --identity igny8-backup.key               the newest complete backup\n"
        "  manage.py restore_all 20261122T021500Z-7f3a9c --only db         one backup, the databases only\n"
        "  manage.py restore_all --stop-workers --purge-queue              stop workers, discard old tasks\n"
        "  manage.py restore_all --noinput --database-name igny8           without a question, for scripts\n"
        "  manage.py restore_all --from-storage production --sanitize      production data, anonymized\n"
        "  manage.py restore_all --in-place --only default                 without a second database"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add_source_options(parser)
        # A dry run keeps nobody out, so there is nothing to wait for.
        exclusive = parser.add_mutually_exclusive_group()
        exclusive.add_argument("--dry-run", action="store_true", help="Show the plan and change nothing.")
        self.add_wait_argument(exclusive)
        add_worker_options(parser)
        parser.add_argument(
            "--purge-queue",
            action="store_true",
            help="After the restore, discard the tasks that wait in the broker. Asks first.",
        )
        parser.add_argument(
            "--assume-space",
            type=_size,
            metavar="SIZE",
            help="Free space on the volume of the database server, for example 200GB.",
        )
        parser.add_argument("--noinput", action="store_false", dest="interactive", help="Ask no question.")
        parser.add_argument(
            "--database-name",
            action="append",
            default=[],
            metavar="NAME",
            help="Confirm that this live database may be replaced. Repeat for each database.",
        )
        parser.add_argument(
            "--in-place",
            action="store_true",
            help="Replace the contents of the live database, for roles that may not create databases.",
        )
        add_override_options(parser)
        add_set_id_option(parser)
        add_personal_data_options(parser)
        for name in MOVED:
            parser.add_argument(name, nargs="?", const="", help=SUPPRESS)

    def work(self, **options: Any) -> int:
        _refuse_moved(options)
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
            overrides=overrides_from_options(options),
        )
        alias, wait = options["from_storage"], options["wait"]
        with (
            self.progress() as shown,
            open_context(progress=shown, storage_alias=alias, wait=wait) as context,
        ):
            session = RestoreSession(context, dry_run=options["dry_run"])
            result = None if options["dry_run"] else session.settle()
            if result is None:
                plan = session.plan(request)
                for line in plan_lines(plan):
                    self.say(line)
                if options["dry_run"]:
                    self.show_json(plan_as_json(plan))
                plan.require_feasible()
                if options["dry_run"]:
                    self.say("Dry run: nothing was changed.")
                    return 0
                confirm(self, plan, options)
                result = session.execute(plan)
        self.show_json(result_as_json(result))
        return show_result(self, result)


def _refuse_moved(options: dict[str, Any]) -> None:
    for name, instead in MOVED.items():
        if options[name.removeprefix("--").replace("-", "_")] is not None:
            raise UsageError(
                f"restore_all no longer takes {name}.",
                unchanged="Nothing was changed.",
                hint=f"Use: manage.py extract_backup [ID] {instead}",
            )


def _size(text: str) -> int:
    try:
        return size_from_words(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{error}.") from None
