"""Observe streams: compute digests, verify them and count bytes while the blocks pass unchanged."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Generator

from igny8_backup.errors import IntegrityError
from igny8_backup.streams import Block, Blocks


class Digest:
    """The size and SHA-256 of all bytes that have passed so far."""

    def __init__(self) -> None:
        self.size = 0
        """Bytes that have passed."""
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """SHA-256 (FIPS 180-4) in lower-case hexadecimal."""
        return self._hash.hexdigest()

    def add(self, block: bytes) -> None:
        """Add one block."""
        self._hash.update(block)
        self.size += len(block)

    def watch(self, blocks: Blocks) -> Blocks:
        """Yield the blocks unchanged and add each to the digest. A second stream continues the digest."""
        with contextlib.closing(blocks):
            for block in blocks:
                self.add(block)
                yield block


def verified(blocks: Blocks, *, sha256: str, size: int, name: str) -> Blocks:
    """Yield the blocks; raise ``IntegrityError`` if their size or SHA-256 is not as expected.

    ``size`` is in bytes, ``sha256`` in hexadecimal; ``name`` (an object key) is for the message. Bytes beyond
    ``size`` are never yielded. Every other fault is found only at the end: do not trust a block before.
    """
    digest = Digest()
    with contextlib.closing(blocks):
        for block in blocks:
            digest.add(block)
            if digest.size > size:
                raise IntegrityError(f"{name} is longer than the {size} bytes that were written.")
            yield block
        if digest.size < size:
            raise IntegrityError(f"{name} ends after {digest.size} bytes of the {size} that were written.")
        if digest.sha256 != sha256.lower():
            raise IntegrityError(f"{name} was altered: its SHA-256 is {digest.sha256}, not {sha256.lower()}.")


def count(
    blocks: Generator[Block, None, None], callback: Callable[[int], None]
) -> Generator[Block, None, None]:
    """Yield the blocks and call ``callback`` with the size of each, in bytes."""
    with contextlib.closing(blocks):
        for block in blocks:
            callback(len(block))
            yield block
