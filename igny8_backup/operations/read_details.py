"""Read the details of a backup: decrypt, limit the size, parse."""

from __future__ import annotations

from contextlib import closing

from igny8_backup.errors import IntegrityError
from igny8_backup.formats import records
from igny8_backup.formats.details import Details
from igny8_backup.formats.manifest import SCHEMA, Manifest
from igny8_backup.humanize import size_in_words
from igny8_backup.operations.context import BackupContext
from igny8_backup.streams import Blocks
from igny8_backup.streams.age import Identity

DETAILS_LIMIT = 64 << 20
"""The largest details that are read, in bytes: ten times those of a database with 100,000 tables."""


def read_details(context: BackupContext, manifest: Manifest, identities: list[Identity]) -> Details:
    """Download and parse the details of a backup. Raises ``IntegrityError``, ``IdentityError``,
    ``StorageError``."""
    name = f"The details of backup {manifest.id}"
    data = join_details(context.download(manifest.details, identities), name=name)
    return records.from_json(Details, data, name=name, schema=SCHEMA)


def join_details(blocks: Blocks, *, name: str) -> bytes:
    """Join the ``blocks`` of details; ``name`` is what the error calls them.

    Raises ``IntegrityError`` beyond ``DETAILS_LIMIT``: whoever can write to the storage could have stored a
    few bytes that decompress to more than fits into memory.
    """
    data = bytearray()
    with closing(blocks):
        for block in blocks:
            data += block
            if len(data) > DETAILS_LIMIT:
                raise IntegrityError(
                    f"{name} are larger than {size_in_words(DETAILS_LIMIT)}, the largest that are read.",
                    unchanged="Nothing was changed.",
                    hint="Choose another backup: list_backups.",
                )
    return bytes(data)
