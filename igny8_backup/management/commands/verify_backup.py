"""``manage.py verify_backup``: whether a backup is still what was written, and can be read."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any

from igny8_backup.errors import IntegrityError
from igny8_backup.management.base import BackupCommand
from igny8_backup.operations.assembly import assemble
from igny8_backup.operations.verify import VerifyRequest, verify
from igny8_backup.remarks import CONTENT, STORED
from igny8_backup.words import count_in_words, size_in_words


class Command(BackupCommand):
    help = "Verify a backup: that each object is there as it was written, or that it can be read to its end."
    examples = (
        "  manage.py verify_backup                             the newest; needs no key\n"
        "  manage.py verify_backup 20261122T021500Z-7f3a9c     another one\n"
        "  manage.py verify_backup --sample 5%                 read one object in twenty\n"
        "  manage.py verify_backup --depth content --identity igny8-backup.key"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("id", metavar="ID", nargs="?", default="", help="An id that list_backups shows.")
        parser.add_argument(
            "--depth",
            choices=(STORED, CONTENT),
            default=STORED,
            help="stored: sizes and digests. content: decrypt, and read every archive to its end.",
        )
        parser.add_argument(
            "--sample",
            type=_percent,
            default=100,
            metavar="PERCENT",
            help="Read this share of the objects, chosen at random; that each is there is always checked.",
        )
        parser.add_argument(
            "--identity", type=Path, metavar="FILE", help="The private key, for the depth content."
        )
        self.add_ping_argument(parser)

    def work(self, **options: Any) -> int:
        request = VerifyRequest(
            backup_id=options["id"],
            depth=options["depth"],
            sample=options["sample"],
            identity_file=options["identity"],
        )
        with self.reported(options) as report:
            with assemble(progress=report) as kit:
                result = verify(kit, request)
            if result.findings or result.unrecorded:
                report.fail(*result.troubles(), sign="damage" if result.findings else "unrecorded")
        check = result.check
        self.show_json(result)
        read = f"{check.read} of {check.objects} objects read ({size_in_words(check.bytes)})"
        for line in result.troubles():
            self.warn(f"  {line}")
        if result.findings:
            raise IntegrityError(
                f"Backup {check.id} is damaged: {count_in_words(len(result.findings), 'object')}, {read}.",
                fix="Back up again now; bring the objects back from another copy of the storage, if there is"
                " one.",
            )
        self.say(f"Backup {check.id}, {check.depth}: all well, {read}.")
        return 3 if result.unrecorded else 0


def _percent(text: str) -> int:
    number = text.removesuffix("%")
    if not (number.isascii() and number.isdigit() and 1 <= int(number) <= 100):
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100.")
    return int(number)
