"""Put an archive that is stored in chunks together from its packs: :func:`read_chunked`."""

from __future__ import annotations

from collections.abc import Mapping

from igny8_backup.chunks.reader import read_archive
from igny8_backup.chunks.runs import Index
from igny8_backup.errors import IntegrityError
from igny8_backup.formats.objects import StoredObject
from igny8_backup.operations.context import BackupContext
from igny8_backup.streams import Blocks
from igny8_backup.streams.age import Identity


def read_chunked(
    context: BackupContext,
    index: Index,
    packs: Mapping[str, StoredObject],
    identities: list[Identity],
    *,
    name: str,
    kept_bytes: int,
) -> Blocks:
    """Yield the archive that ``index`` describes, from ``packs``, which are given by name.

    ``name`` names the archive in messages. ``kept_bytes`` limits the bytes of packs that are kept for later.
    Raises ``IntegrityError``, ``MissingObjectError`` and ``StorageError``. Only the end of the stream proves
    that the archive is the one that was stored.
    """
    try:
        yield from read_archive(
            index,
            {pack: item.raw_bytes for pack, item in packs.items()},
            lambda pack: context.download(packs[pack], identities),
            name=name,
            kept_bytes=kept_bytes,
        )
    except IntegrityError as error:
        if error.object_key in packs:  # the reader knows the names only
            error.object_key = packs[error.object_key].key
        raise
