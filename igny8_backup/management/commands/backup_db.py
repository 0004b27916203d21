"""``manage.py backup_db``: the databases."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from igny8_backup.conf import Config
from igny8_backup.management.backup import BackupRunCommand
from igny8_backup.operations.selection import choose


class Command(BackupRunCommand):
    help = "Back up databases: pg_dump, compressed, encrypted, streamed to storage."
    examples = (
        "  manage.py backup_db                      every database of the settings\n"
        "  manage.py backup_db default              one of them\n"
        "  manage.py backup_db --label before-0042  with a label to find it by"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("aliases", nargs="*", metavar="ALIAS", help="Aliases in DATABASES; default: all.")

    def parts(self, config: Config, options: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return choose(tuple(options["aliases"]), config.databases, "database"), ()
