"""``manage.py restore_all``: replace the live databases and files with those of a backup."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from igny8_backup.formats.documents.fleet_restore import RESTORE
from igny8_backup.management.base import BackupCommand, accepted
from igny8_backup.management.confirm import confirm
from igny8_backup.management.restore import fleet, in_place
from igny8_backup.management.restore.options import (
    add_restore_options,
    overrides_from_options,
    refuse_moved_options,
)
from igny8_backup.management.restore.plan_text import plan_as_json, plan_lines
from igny8_backup.management.restore.result_text import result_as_json, show_result
from igny8_backup.management.restore.workers import worker_policy
from igny8_backup.operations.context import open_context
from igny8_backup.operations.restore.planning.plan import RestoreRequest
from igny8_backup.operations.restore.run import RestoreSession
from igny8_backup.operations.undo.copies import is_discardable


class Command(BackupCommand):
    help = (
        "Restore databases and site files. Everything is built next to the live data, checked and migrated,\n"
        "and then swapped with the live data, which is kept: see undo_restore. Before a restore, stop the\n"
        "application, its workers and beat. For a copy that replaces nothing, use extract_backup."
    )
    examples = (
        "  manage.py restore_all --dry-run --identity igny8-backup.key     show the plan, change nothing\n"
        "  manage.py restore_all --identity igny8-backup.key               the newest complete backup\n"
        "  manage.py restore_all 20261122T021500Z-7f3a9c --only db         one backup, the databases only\n"
        "  manage.py restore_all --stop-workers --purge-queue              stop workers, discard old tasks\n"
        "  manage.py restore_all --noinput --database-name igny8           without a question, for scripts\n"
        "  manage.py restore_all --from-storage production --sanitize      production data, anonymized\n"
        "  manage.py restore_all --in-place --only default                 without a second database\n"
        "  manage.py restore_all --fleet                                   all hosts of a fleet backup"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add_restore_options(parser)
        fleet.add_fleet_options(parser)
        self._parser = parser

    def work(self, **options: Any) -> int:
        refuse_moved_options(options)
        fleet.refuse_without_fleet(options)
        policy = worker_policy(options)
        if options["join"]:
            return fleet.join(self, self._parser, options)
        if options["fleet"]:
            return fleet.coordinate(self, self._parser, options, policy, RESTORE)
        if options["in_place"]:
            return in_place.restore(self, options, policy)
        request = RestoreRequest(
            backup_id=options["id"] or "",
            only=options["only"],
            from_host=options["from_host"] or "",
            identity_file=options["identity"],
            workers=policy,
            assume_space=options["assume_space"],
            ignore_space=options["ignore_space"],
            migrate=not options["no_migrate"],
            sanitize=options["sanitize"],
            keep_personal_data=options["keep_personal_data"],
            allow_set_id=options["allow_set_id"],
            overrides=overrides_from_options(options),
        )
        alias, wait = options["from_storage"], options["wait"]
        with (
            self.progress() as shown,
            open_context(
                progress=shown,
                storage_alias=alias,
                healing=True,
                wait=wait,
                accept=accepted(options),
                as_of=options["as_of"],
            ) as context,
        ):
            session = RestoreSession(context, dry_run=options["dry_run"])
            result = None if options["dry_run"] else session.settle()
            if result is None:
                plan = session.plan(request)
                if not self.show_plan(plan, plan_lines(plan), plan_as_json(plan), dry_run=options["dry_run"]):
                    return 0
                confirm(self, plan, options)
                result = session.execute(plan)
            journals, discardable = context.journals.all(), is_discardable(context, result.journal)
        self.show_json(result_as_json(result))
        return show_result(self, result, journals, discardable=discardable)
