"""``manage.py backup_all``: back up all databases, then all trees, under one id."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from igny8_backup.conf import Config
from igny8_backup.management.backup import BackupRunCommand


class Command(BackupRunCommand):
    help = "Back up every database, then every tree of files, under one id."
    examples = (
        "  manage.py backup_all             databases and SITES\n"
        "  manage.py backup_all --logs      also the trees in LOGS\n"
        "  manage.py backup_all --json      the result as JSON, for scripts"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        self.add_yield_argument(parser)
        self.add_tree_arguments(parser)

    def parts(self, config: Config, options: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if not config.databases:
            self.warn("No database is configured: only files are backed up.")
        return config.databases, (*config.sites, *(config.logs if options["logs"] else ()))
