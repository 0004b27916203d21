"""``manage.py retire_host``: record that a host makes no backups any more."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from igny8_backup.management.base import BackupCommand
from igny8_backup.management.options.from_storage import add_from_storage_argument
from igny8_backup.management.options.wait import add_wait_argument
from igny8_backup.operations.context import open_context
from igny8_backup.operations.maintain.retire import retire


class Command(BackupCommand):
    help = (
        "Record that a host makes no backups any more. Nothing about it is an alarm then, and its last\n"
        "failure does not stop prune_backups. If it makes a backup again, the record no longer counts.\n"
        "Not needed if the setting HOSTS names the hosts that make backups: remove the host there."
    )
    examples = (
        '  manage.py retire_host web-0 --reason "replaced by web-3"\n'
        '  manage.py retire_host web-0 --reason "replaced by web-3" --from-storage offsite'
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("host", metavar="HOST", help="The HOST of the machine.")
        parser.add_argument("--reason", required=True, help="Why. monitor_backups shows it.")
        add_from_storage_argument(parser, "Record it in")
        add_wait_argument(parser)

    def work(self, **options: Any) -> int:
        alias = options["from_storage"]
        with (
            self.progress() as shown,
            open_context(progress=shown, wait=options["wait"], storage_alias=alias, changing=True) as context,
        ):
            made = retire(context, options["host"], options["reason"])
        self.show_json(made)
        self.say(f"The host {made.host} is retired: {made.reason}")
        return 0
