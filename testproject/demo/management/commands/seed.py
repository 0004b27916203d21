"""Fill an empty database and the trees of sites with the data of the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accounts.models import Account
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection, transaction

from demo import files
from demo.seed import SEED, accounts_for, fill_postgres, fill_with_models
from demo.words import site_names


class Command(BaseCommand):
    help = "Fill an empty database, and the folders of IGNY8_BACKUP['SITES'], with rows and files."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--rows", type=int, default=200_000, help="at least so many rows (200000)")
        parser.add_argument("--files", type=int, default=5_000, help="at least so many files (5000)")
        parser.add_argument("--seed", type=int, default=SEED, help="another number, other data")

    def handle(self, *, rows: int, files: int, seed: int, **options: Any) -> None:
        if Account.objects.exists():
            raise CommandError("The database has accounts already: give an empty one.")
        accounts = accounts_for(rows)
        if connection.vendor == "postgresql":
            connection.ensure_connection()
            count = fill_postgres(connection.connection, accounts, seed=seed)
        else:
            with transaction.atomic():
                count = fill_with_models(accounts, using="default", seed=seed)
        self.stdout.write(f"{count:,} rows of {accounts:,} accounts")
        if files:
            self.write_files(accounts, files, seed)

    def write_files(self, accounts: int, count: int, seed: int) -> None:
        trees = settings.IGNY8_BACKUP["SITES"]
        folders = [site.folder for site in site_names(accounts)]
        written = files.write(
            Path(trees["sites-data"]), Path(trees["uploads"]), folders, files=count, seed=seed
        )
        self.stdout.write(f"{written.files:,} files, {written.size / 1e6:,.1f} MB")
