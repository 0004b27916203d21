"""``manage.py verify_backup``: check that backups are undamaged and can be read."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from igny8_backup.common.humanize import count_in_words, size_in_words
from igny8_backup.errors import IntegrityError, UsageError
from igny8_backup.formats.documents.annotations import CONTENT, STORED, Check
from igny8_backup.management.base import BackupCommand, accepted, add_identity_argument
from igny8_backup.management.options.from_storage import add_from_storage_argument
from igny8_backup.operations.context import open_context
from igny8_backup.operations.verify.all_results import AllVerified
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify_backups
from igny8_backup.operations.verify.sample import parse_percent


class Command(BackupCommand):
    help = "Verify backups: check that all objects are undamaged, or also that their contents can be read."
    examples = (
        "  manage.py verify_backup                             the newest copy of each database and tree\n"
        "  manage.py verify_backup 20261122T021500Z-7f3a9c     this backup\n"
        "  manage.py verify_backup --all --sample 5%           one object in twenty of all backups,\n"
        "                                                      other objects each day\n"
        "  manage.py verify_backup --depth content --identity igny8-backup.key\n"
        "  manage.py verify_backup --from-storage offsite      the copies of the backups there"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        text = "A backup. Default: those with the newest copy of each database and tree of each host."
        parser.add_argument("id", metavar="ID", nargs="?", default="", help=text)
        text = "Verify all backups. Objects that several backups share are read once."
        parser.add_argument("--all", action="store_true", help=text)
        text = "stored: compare sizes and digests. content: also decrypt and read all archives completely."
        parser.add_argument("--depth", choices=(STORED, CONTENT), default=STORED, help=text)
        text = "Read only this share of the objects, other ones each day. Missing objects are always found."
        parser.add_argument("--sample", type=_percent, default=100, metavar="PERCENT", help=text)
        text = (
            "Also read a seventh of the packs that only older backups need: in a week of daily verifications"
            " each of them once."
        )
        parser.add_argument("--older-packs", action="store_true", help=text)
        add_identity_argument(parser, ", for --depth content")
        add_from_storage_argument(parser, "Verify the backups in")
        self.add_ping_argument(parser)

    def work(self, **options: Any) -> int:
        if options["id"] and options["all"]:
            raise UsageError("--all cannot be combined with ID.", hint="Remove one of them.")
        request = VerifyRequest(
            backup_id=options["id"],
            depth=options["depth"],
            sample=options["sample"],
            identity_file=options["identity"],
            older_packs=options["older_packs"],
        )
        with self.reported(options) as report:
            alias, accept = options["from_storage"], accepted(options)
            with open_context(progress=report, accept=accept, storage_alias=alias) as context:
                found = verify_backups(context, request, every=options["all"])
            report.cover(*found.scope(every=options["all"], one=bool(options["id"])))
            if not found.complete:
                report.fail(*found.problems(), alarms=found.alarms)
        # Without --all, the fields of the newest backup are repeated, for scripts that expect one.
        newest = vars(found.results[-1]) if found.results and not options["all"] else {}
        self.show_json({**vars(found), "unread_backups": found.unread, **newest})
        self.warn(*(f"  {line}" for line in found.problems()))
        return self._show(found)

    def _show(self, found: AllVerified) -> int:
        for result in found.results:
            check = result.check
            if not result.findings and not result.unread:
                self.say(f"Backup {check.id} (depth {check.depth}): no damage, {_amount(check)}.")
        if found.damaged:
            raise IntegrityError(
                _damage(found),
                unchanged="Nothing was changed.",
                hint="Make a new backup now. If COPIES is set, prune_backups copies the damaged objects"
                " back. Otherwise copy them back from another copy of the storage, if there is one.",
            )
        return 0 if found.complete else 3


def _damage(found: AllVerified) -> str:
    damaged = [result for result in found.results if result.findings]
    if len(found.results) == 1 and damaged:
        check, objects = damaged[0].check, count_in_words(len(damaged[0].findings), "object")
        return f"Backup {check.id} is damaged: {objects}, {_amount(check)}."
    total = len(found.results) + len(found.lost) + len(found.unopened) + len(found.unread)
    return f"{len(damaged) + len(found.lost)} of {count_in_words(total, 'backup')} damaged; see above."


def _amount(check: Check) -> str:
    return f"{check.read} of {check.objects} objects read ({size_in_words(check.bytes)})"


def _percent(text: str) -> int:
    try:
        return parse_percent(text)
    except UsageError as error:
        raise ArgumentTypeError(error.what) from None
