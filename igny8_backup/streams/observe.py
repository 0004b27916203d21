"""Observers: the bytes pass unchanged, and afterwards something is known about them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Generator

from igny8_backup.errors import IntegrityError
from igny8_backup.streams import Block, Blocks


class Digest:
    """Size and SHA-256 of what has passed so far; of the whole once the stream has ended."""

    def __init__(self) -> None:
        self.size = 0
        """Bytes that have passed."""
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """SHA-256 (FIPS 180-4) in lower-case hexadecimal."""
        return self._hash.hexdigest()

    def add(self, block: bytes) -> None:
        """Count one block in."""
        self._hash.update(block)
        self.size += len(block)

    def watch(self, blocks: Blocks) -> Blocks:
        """The same blocks. Several streams watched one after the other count as one."""
        with contextlib.closing(blocks):
            for block in blocks:
                self.add(block)
                yield block


def verified(blocks: Blocks, *, sha256: str, size: int, name: str) -> Blocks:
    """The same blocks; raises ``IntegrityError`` unless they are what was promised.

    ``size`` is in bytes, ``sha256`` in hexadecimal, ``name`` (an object key) is for the message. Too many
    bytes are noticed before they pass, the rest at the end: nothing is proven before that.
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
    """The same blocks; ``callback`` gets the size in bytes of each as it passes."""
    with contextlib.closing(blocks):
        for block in blocks:
            callback(len(block))
            yield block
