"""Objects in storage as manifests name them: their keys, sizes and digests."""

from __future__ import annotations

from dataclasses import dataclass, field

from igny8_backup.formats.record_types import NOT_STORED


@dataclass(frozen=True, kw_only=True, slots=True)
class ListReference:
    """A reference to a list: its key, its size in bytes and its SHA-256 in hexadecimal digits."""

    key: str
    stored_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredObject:
    """An object in storage.

    ``stored_bytes`` is its size, ``raw_bytes`` its size before compression and encryption. ``sha256`` is the
    digest of the stored bytes in hexadecimal digits. ``codecs`` are the steps that encoded the
    object, for example ``zstd`` and ``age``.

    The other fields exist in memory only. ``blocks`` are the digests of the blocks of an object that this run
    has uploaded, one after the other; a list stores them later. ``blocks_in`` is the list that stores them,
    ``None`` if no list does. ``named_in`` is the list that names the object, if the object is a pack.
    """

    key: str
    stored_bytes: int
    raw_bytes: int
    sha256: str
    codecs: tuple[str, ...]
    blocks: bytes = field(default=b"", compare=False, repr=False, metadata=NOT_STORED)
    named_in: ListReference | None = field(default=None, compare=False, repr=False, metadata=NOT_STORED)
    blocks_in: ListReference | None = field(default=None, compare=False, repr=False, metadata=NOT_STORED)


def list_object(found: ListReference) -> StoredObject:
    """Return the list to which ``found`` refers as a :class:`StoredObject`."""
    size = found.stored_bytes
    return StoredObject(key=found.key, stored_bytes=size, raw_bytes=size, sha256=found.sha256, codecs=())
