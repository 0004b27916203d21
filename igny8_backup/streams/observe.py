"""Observe streams: compute digests, verify them and count bytes while the blocks pass unchanged."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Generator

from igny8_backup.errors import IntegrityError
from igny8_backup.streams import Block, Blocks


class Digest:
    """The size and SHA-256 of all bytes that were added so far."""

    def __init__(self) -> None:
        self.size = 0
        """Bytes that have passed."""
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The SHA-256 (FIPS 180-4) of all bytes that were added, in lower-case hexadecimal."""
        return self._hash.hexdigest()

    def add(self, block: bytes | memoryview) -> None:
        """Add the bytes of ``block`` to the size and the SHA-256."""
        self._hash.update(block)
        self.size += len(block)

    def watch(self, blocks: Blocks) -> Blocks:
        """Yield the blocks unchanged and add the bytes of each.

        May be called for several streams one after the other, to compute the digest of all their bytes.
        """
        with contextlib.closing(blocks):
            for block in blocks:
                self.add(block)
                yield block


class BlockDigests:
    """The size and SHA-256 of a stream, and the SHA-256 of each of its blocks.

    For this purpose a stream is divided into blocks of ``block_bytes`` bytes; the last one may be shorter.
    """

    def __init__(self, block_bytes: int) -> None:
        self.size = 0
        """The number of bytes that :meth:`watch` has yielded so far."""
        self._block_bytes = block_bytes
        # Until the first block ends, its hash is that of the stream. So most packs are hashed only once.
        self._whole = self._block = hashlib.sha256()
        self._digests = bytearray()

    @property
    def sha256(self) -> str:
        """The SHA-256 of the stream so far, in lower-case hexadecimal."""
        return self._whole.hexdigest()

    @property
    def blocks(self) -> bytes:
        """The digests of the blocks, one after the other, 32 bytes each."""
        rest = self._block.digest() if self.size % self._block_bytes else b""
        return bytes(self._digests) + rest

    def watch(self, blocks: Blocks) -> Blocks:
        """Yield the blocks of a stream unchanged, and add their bytes to the digests."""
        with contextlib.closing(blocks):
            for block in blocks:
                for piece, complete in _pieces(block, self.size % self._block_bytes, self._block_bytes):
                    self._block.update(piece)
                    if self._whole is not self._block:
                        self._whole.update(piece)
                    if complete:
                        self._digests += self._block.digest()
                        self._block = hashlib.sha256()
                self.size += len(block)
                yield block


def verified(blocks: Blocks, *, sha256: str, size: int, name: str) -> Blocks:
    """Yield the blocks; raise ``IntegrityError`` if their size or SHA-256 is not as expected.

    ``size`` is in bytes, ``sha256`` in hexadecimal; ``name`` (an object key) is for the message. Bytes beyond
    ``size`` are never yielded. Other faults are found only at the end of the stream, so do not trust any
    block before the end.
    """
    return _verified(blocks, Digest(), sha256=sha256, size=size, name=name)


def checked_by_block(blocks: Blocks, digests: bytes, *, block_bytes: int, size: int, name: str) -> Blocks:
    """Yield a stream, but no block of it before the block's SHA-256 was compared with ``digests``.

    Use this for data that could be forged and must not reach a parser unchecked. The stream is checked in
    blocks of ``block_bytes`` bytes; ``digests`` are their SHA-256 digests, 32 bytes each. One block is held
    in memory. Raises ``IntegrityError`` if a digest differs or the stream has not exactly ``size`` bytes;
    ``name`` (an object key) is for the message.
    """
    expected = [digests[at : at + 32] for at in range(0, len(digests), 32)]
    held: list[bytes] = []
    found, passed = hashlib.sha256(), 0
    with contextlib.closing(blocks):
        for block in blocks:
            if passed + len(block) > size:
                raise IntegrityError(f"{name} is longer than the {size} bytes that were written.")
            for piece, complete in _pieces(block, passed % block_bytes, block_bytes):
                found.update(piece)
                held.append(bytes(piece))
                passed += len(piece)
                if complete or passed == size:
                    number = (passed - 1) // block_bytes
                    if [found.digest()] != expected[number : number + 1]:
                        start = number * block_bytes
                        what = f"the {passed - start} bytes from {start} on are not those that were written"
                        raise IntegrityError(f"{name} was altered: {what}.")
                    yield from held
                    held, found = [], hashlib.sha256()
    if passed < size:
        raise IntegrityError(
            f"{name} is shorter than the {size} bytes that were written: it ends after {passed}."
        )


def checked_in_two_passes(
    read: Callable[[], Blocks], *, sha256: str, block_bytes: int, size: int, name: str
) -> Blocks:
    """Read a stream twice: first check the whole stream, then yield it.

    Use this if only the SHA-256 of the whole stream is known. ``read`` is called twice to open the stream.
    The storage could send other bytes the second time. So the first pass computes a digest of each block of
    ``block_bytes`` bytes, and the second pass yields a block only if its digest is the same. The other
    arguments and the errors are those of :func:`verified`.
    """
    first = BlockDigests(block_bytes)
    for _ in _verified(read(), first, sha256=sha256, size=size, name=name):
        pass
    try:
        yield from checked_by_block(read(), first.blocks, block_bytes=block_bytes, size=size, name=name)
    except IntegrityError as error:
        raise IntegrityError(f"{name} was altered while it was read: {error.what}") from None


def _verified(blocks: Blocks, digest: Digest | BlockDigests, *, sha256: str, size: int, name: str) -> Blocks:
    with contextlib.closing(digest.watch(blocks)) as watched:
        for block in watched:
            if digest.size > size:
                raise IntegrityError(f"{name} is longer than the {size} bytes that were written.")
            yield block
        if digest.size < size:
            raise IntegrityError(
                f"{name} is shorter than the {size} bytes that were written: it ends after {digest.size}."
            )
        if digest.sha256 != sha256.lower():
            raise IntegrityError(f"{name} was altered: its SHA-256 is {digest.sha256}, not {sha256.lower()}.")


def _pieces(
    data: bytes, offset: int, block_bytes: int
) -> Generator[tuple[bytes | memoryview, bool], None, None]:
    """Cut ``data`` at the ends of blocks; yield each piece, and whether a block ends with the piece.

    ``offset`` is how many bytes of the current block came before ``data``.
    """
    if 0 < len(data) <= block_bytes - offset:  # the usual case, which copies nothing
        yield data, offset + len(data) == block_bytes
        return
    rest = memoryview(data)
    while rest:
        piece = rest[: block_bytes - offset]
        rest = rest[len(piece) :]
        yield piece, offset + len(piece) == block_bytes
        offset = 0


def count(
    blocks: Generator[Block, None, None], callback: Callable[[int], None]
) -> Generator[Block, None, None]:
    """Yield the blocks and call ``callback`` with the size of each, in bytes."""
    with contextlib.closing(blocks):
        for block in blocks:
            callback(len(block))
            yield block
