"""``manage.py backup_sites``: back up trees of files."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from igny8_backup.conf import Config
from igny8_backup.management.backup import BackupRunCommand
from igny8_backup.operations.selection import choose_trees


class Command(BackupRunCommand):
    help = "Back up the trees of files in IGNY8_BACKUP['SITES'], and with --logs those in LOGS."
    examples = (
        "  manage.py backup_sites               every tree in SITES\n"
        "  manage.py backup_sites sites-data    only this tree\n"
        "  manage.py backup_sites --logs        SITES and LOGS\n"
        "  manage.py backup_sites --full        store every file again, changed or not"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        self.add_tree_arguments(parser)
        text = "Names in SITES or LOGS. Default: all of SITES."
        parser.add_argument("names", nargs="*", metavar="NAME", help=text)

    def parts(self, config: Config, options: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return (), choose_trees(config, tuple(options["names"]), logs=options["logs"])
