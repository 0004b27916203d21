"""``manage.py accept_backup``: accept suspect copies, announce a move, or accept that a backup is gone."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from igny8_backup.errors import UsageError
from igny8_backup.management.base import BackupCommand
from igny8_backup.management.options.wait import add_wait_argument
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.maintain.accept import (
    AcceptResult,
    accept,
    accept_loss,
    announce_move,
    withdraw,
)


class Command(BackupCommand):
    help = (
        "Accept copies that are suspect: the database or tree is smaller than before, or the database\n"
        "comes from another server or has lost migrations. Until then, rules of retention ignore such a\n"
        "copy, and a restore takes it only if its id is given. Or announce that a database moves to\n"
        "another server. Or accept that a backup is gone from storage."
    )
    examples = (
        '  manage.py accept_backup 20261122T021500Z-7f3a9c --reason "old sites archived"\n'
        '  manage.py accept_backup 20261122T021500Z-7f3a9c --part uploads --reason "moved to S3"\n'
        "  manage.py accept_backup 20261122T021500Z-7f3a9c --withdraw\n"
        "  manage.py accept_backup 20261122T021500Z-7f3a9c --lost\n"
        '  manage.py accept_backup --next --part default --reason "pg_upgrade to 18"'
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("id", nargs="?", default="", metavar="ID", help="An id that list_backups shows.")
        text = "Instead of ID: the database moves to another server before the next backup of this host."
        parser.add_argument("--next", action="store_true", help=text)
        text = "Only this database or tree. Repeat for more. Default: all that are suspect or have an alarm."
        parser.add_argument("--part", action="append", default=[], metavar="NAME", help=text)
        choice = parser.add_mutually_exclusive_group(required=True)
        choice.add_argument("--reason", help="Why the copy is right all the same. show_backup shows it.")
        text = "Withdraw an acceptance: the copy is compared with the one before it again."
        choice.add_argument("--withdraw", action="store_true", help=text)
        text = "Accept that the backup is gone from storage: its loss is no longer reported."
        choice.add_argument("--lost", action="store_true", help=text)
        add_wait_argument(parser)

    def work(self, **options: Any) -> int:
        backup_id, names = options["id"], tuple(options["part"])
        if "" in names:
            raise UsageError("--part is empty.", hint="Name a database or tree: see show_backup.")
        if bool(backup_id) == options["next"]:
            what = "accept_backup needs either the id of a backup or --next."
            raise UsageError(what, unchanged="Nothing was changed.", hint="List the ids: list_backups.")
        with self.progress() as shown, open_context(progress=shown, wait=options["wait"]) as context:
            if options["next"]:
                return self._announce(context, names, options["reason"])
            if options["lost"]:
                accept_loss(context, backup_id)
                self.show_json({"id": backup_id, "lost": True})
                self.say(f"The loss of backup {backup_id} is accepted, and no longer reported.")
                return 0
            if options["withdraw"]:
                result = withdraw(context, backup_id, names)
                verb = "is compared with the copy before it again"
            else:
                result = accept(context, backup_id, options["reason"], names)
                verb = "is accepted: it is no longer suspect, and later copies are compared with it"
        self.show_json(result)
        for name in result.parts:
            self.say(f"The copy of {name!r} in backup {backup_id} {verb}.")
        self._show_suspects(result)
        return 0

    def _announce(self, context: BackupContext, names: tuple[str, ...], reason: str | None) -> int:
        if reason is None:
            what = "--next announces a move, so it cannot be combined with --withdraw or --lost."
            raise UsageError(what, unchanged="Nothing was changed.", hint='Give --reason "..." instead.')
        aliases = announce_move(context, names, reason)
        self.show_json({"next": aliases})
        for alias in aliases:
            self.say(f"The next backup of {alias!r} by this host may come from another database server.")
        return 0

    def _show_suspects(self, result: AcceptResult) -> None:
        for copy in result.suspect:
            self.say(f"The copy of {copy.part.name!r} in backup {copy.backup_id} is {copy.why}.")
