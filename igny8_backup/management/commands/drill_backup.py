"""``manage.py drill_backup``: restore a backup to scratch databases and folders, compare and measure."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from igny8_backup.common.humanize import listed, time_taken
from igny8_backup.errors import IntegrityError
from igny8_backup.management.base import BackupCommand, accepted, add_identity_argument
from igny8_backup.management.options.wait import add_wait_argument
from igny8_backup.management.restore.options import add_no_migrate_option
from igny8_backup.operations.context import open_context
from igny8_backup.operations.drill.result import DrillResult
from igny8_backup.operations.drill.run import DrillRequest, drill


class Command(BackupCommand):
    help = (
        "Practise a restore: restore backups to scratch databases and folders, compare the result with\n"
        "what was backed up, migrate it, measure the time, and remove the copy. Nothing live is changed."
    )
    examples = (
        "  manage.py drill_backup --identity igny8-backup.key                 the newest copy of everything\n"
        "  manage.py drill_backup 20261122T021500Z-7f3a9c --identity igny8-backup.key\n"
        "  manage.py drill_backup --own-server --identity igny8-backup.key    in a server of its own\n"
        "  manage.py drill_backup --no-owner --identity igny8-backup.key      the roles do not exist here"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        text = "A backup. Default: the newest complete one, and the newest copy of all that it lacks."
        parser.add_argument("id", metavar="ID", nargs="?", default="", help=text)
        add_identity_argument(parser)
        text = "Make the restoring role the owner of everything."
        parser.add_argument("--no-owner", dest="owners", action="store_false", help=text)
        add_no_migrate_option(parser)
        text = "Restore databases into a private server that the drill starts and removes."
        parser.add_argument("--own-server", action="store_true", help=text)
        add_wait_argument(parser)
        self.add_ping_argument(parser)

    def work(self, **options: Any) -> int:
        request = DrillRequest(
            backup_id=options["id"],
            identity_file=options["identity"],
            owners=options["owners"],
            migrate=not options["no_migrate"],
            own_server=options["own_server"],
        )
        with self.reported(options) as report:
            with open_context(progress=report, wait=options["wait"], accept=accepted(options)) as context:
                found = drill(context, request)
            report.cover(*found.scope)
            if not found.complete:
                report.fail(*found.problems(), alarms=found.alarms)
        results = [_as_json(result) for result in found.results]
        # The fields of the first backup are repeated, for scripts that expect one.
        self.show_json({**results[0], "results": results, "left_out": found.left_out})
        for result in found.results:
            self._show(result)
        self.warn(*found.problems())
        if found.damaged:
            damaged = listed([result.check.id for result in found.results if result.findings])
            raise IntegrityError(
                f"What was restored from backup {damaged} differs from what was backed up; see above.",
                unchanged="Nothing live was changed.",
                hint="Make a new backup now, and run drill_backup with its id.",
            )
        return 0 if found.complete else 3

    def _show(self, result: DrillResult) -> None:
        if result.restored:
            time = time_taken(result.check.finished - result.check.started)
            self.say(
                f"Backup {result.check.id} was restored in {time} and matches what was backed up:"
                f" {', '.join(result.restored)}. The copy was removed."
            )


def _as_json(result: DrillResult) -> dict[str, Any]:
    shown = {key: value for key, value in vars(result).items() if key != "manifest"}
    return {**shown, "seconds": (result.check.finished - result.check.started).total_seconds()}
