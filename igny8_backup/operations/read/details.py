"""Read the details of a backup (the encrypted description of its databases)."""

from __future__ import annotations

from contextlib import closing

from igny8_backup.common.humanize import size_in_words
from igny8_backup.errors import damaged_backup
from igny8_backup.formats import records
from igny8_backup.formats.details import SCHEMA, Details
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.streams import Blocks
from igny8_backup.streams.age import Identity

DETAILS_LIMIT = 64 << 20
"""The largest size of details, in bytes. The details of a database with 100,000 tables need a tenth of it."""


def read_details(context: BackupContext, manifest: Manifest, identities: list[Identity]) -> Details:
    """Download, decrypt and parse the details of a backup (the description of its databases).

    Raises ``IntegrityError`` if the details are damaged, or if the backup lacks the encryption or the
    signature that the settings demand. Also raises ``IdentityError`` and ``StorageError``.
    """
    context.require_genuine(manifest)
    name = f"The details of backup {manifest.id}"
    data = join_details(context.download(manifest.details, identities), name=name)
    return records.from_json(Details, data, name=name, schema=SCHEMA)


def join_details(blocks: Blocks, *, name: str) -> bytes:
    """Join the decompressed ``blocks`` of the details of a backup. Error messages call them ``name``.

    Raises ``IntegrityError`` if the details are larger than ``DETAILS_LIMIT``: an attacker who can write to
    the storage could store a few bytes that decompress to more than fits into memory.
    """
    data = bytearray()
    with closing(blocks):
        for block in blocks:
            data += block
            if len(data) > DETAILS_LIMIT:
                raise damaged_backup(f"{name} are larger than {size_in_words(DETAILS_LIMIT)}, the limit.")
    return bytes(data)
