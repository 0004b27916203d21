"""``manage.py backup_db``: back up databases."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from igny8_backup.conf import Config
from igny8_backup.management.backup import BackupRunCommand
from igny8_backup.operations.selection import choose_databases


class Command(BackupRunCommand):
    help = "Back up databases: dump, compress, encrypt and stream each one to storage."
    examples = (
        "  manage.py backup_db                      every configured database\n"
        "  manage.py backup_db default              only this alias\n"
        "  manage.py backup_db --full               the whole database, also with CHUNKED_DUMPS\n"
        "  manage.py backup_db --label before-0042  with a label"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        self.add_yield_argument(parser)
        self.add_dump_arguments(parser)
        parser.add_argument("aliases", nargs="*", metavar="ALIAS", help="Aliases in DATABASES. Default: all.")

    def parts(self, config: Config, options: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return choose_databases(config, tuple(options["aliases"])), ()
