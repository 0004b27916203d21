"""The option ``--from-storage``: work on the backups in another storage, such as a copy."""

from __future__ import annotations

from argparse import ArgumentParser

from igny8_backup.conf import STORAGE_ALIAS


def add_from_storage_argument(parser: ArgumentParser, purpose: str) -> None:
    """Add ``--from-storage ALIAS``. ``purpose``, such as ``Read the backup from``, begins its help text."""
    text = f"{purpose} this entry of STORAGES, or this copy in COPIES."
    parser.add_argument("--from-storage", default=STORAGE_ALIAS, metavar="ALIAS", help=text)
