"""Where storage has chunks: ranges of packs, and the limits of packs."""

from __future__ import annotations

from typing import NamedTuple

PACK_BYTES = 8 << 20
"""The largest size in bytes of a pack, an object that holds chunks, before compression."""


class Location(NamedTuple):
    """A range of bytes in the contents of the pack whose name is ``pack``, such as ``ID-0001``."""

    pack: str
    offset: int
    length: int
