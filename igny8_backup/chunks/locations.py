"""Where storage has chunks: ranges of packs, and the limits of packs."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

PACK_BYTES = 8 << 20
"""The largest size in bytes of a pack, an object that holds chunks, before compression."""
DIGEST_BYTES = 16
"""The size in bytes of the keyed digest of a chunk."""
KEY_BYTES = 32
"""The size in bytes of the secret key of these digests."""


class Location(NamedTuple):
    """A range of bytes in the contents of the pack whose name is ``pack``, such as ``ID-0001``."""

    pack: str
    offset: int
    length: int


def chunk_digest(chunk: bytes | memoryview, key: bytes) -> bytes:
    """Return the keyed digest of a chunk (BLAKE2b).

    Without the secret ``key``, nobody can construct two chunks of the same digest, or recognise a chunk by
    its digest.
    """
    return hashlib.blake2b(chunk, key=key, digest_size=DIGEST_BYTES).digest()
