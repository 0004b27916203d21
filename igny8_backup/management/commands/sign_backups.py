"""``manage.py sign_backups``: sign backups that were made before backups were signed."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from igny8_backup.errors import UsageError
from igny8_backup.management.base import BackupCommand
from igny8_backup.operations.context import open_context
from igny8_backup.operations.sign import sign_backups, sign_removals


class Command(BackupCommand):
    help = "Verify backups without a trusted signature, and sign those that are undamaged."
    examples = (
        "  manage.py sign_backups                              all that this host knows\n"
        "  manage.py sign_backups 20261122T021500Z-7f3a9c\n"
        "  manage.py sign_backups --removals                   the removal of backups before TRUSTED was set"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "ids",
            nargs="*",
            metavar="ID",
            help="An id that list_backups shows. Default: all that this host knows.",
        )
        text = (
            "Sign no backups, but the removals by prune_backups that only run records show so far. Use it"
            " once, after you have set TRUSTED or revoked a key."
        )
        parser.add_argument("--removals", action="store_true", help=text)

    def work(self, **options: Any) -> int:
        if options["ids"] and options["removals"]:
            raise UsageError("--removals cannot be combined with ID.", hint="Remove one of them.")
        what = "the removal of " * options["removals"]
        with self.progress() as shown, open_context(progress=shown) as context:
            if options["removals"]:
                result = sign_removals(context)
            else:
                result = sign_backups(context, tuple(options["ids"]))
        self.show_json(result)
        self.say(*(f"Signed: {what}{backup_id}" for backup_id in result.signed))
        self.say(*(f"Has a trusted signature: {backup_id}" for backup_id in result.already))
        self.warn(*result.problems())
        return 6 if result.refused else 0
