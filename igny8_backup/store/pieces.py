"""Write a stream to a file in pieces that can be written again after a failure.

A local disk and an SFTP server accept a stream block by block, and a block that was accepted may still be
lost when the mount or the connection breaks. So the last piece stays in memory until the storage has
confirmed it. After a temporary failure, writing goes on where the confirmed bytes end.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from mmap import mmap

from igny8_backup.store.retry import Retry
from igny8_backup.streams import Blocks

PIECE = 16 << 20
"""The number of bytes that are kept until they are confirmed."""


@dataclass(frozen=True)
class Written:
    """The size of a written stream in bytes, its CRC-32, and whether a piece was written more than once.

    ``crc`` is 0 unless it was asked for.
    """

    size: int
    crc: int
    interrupted: bool


def write_in_pieces(
    blocks: Blocks,
    write: Callable[[int, memoryview], None],
    retry: Retry,
    *,
    size: int = PIECE,
    with_crc: bool = False,
) -> Written:
    """Call ``write`` with an offset and the bytes that belong there, until all of ``blocks`` is written.

    All pieces but the last have ``size`` bytes. ``write`` returns when the storage has confirmed the bytes.
    If it raises ``UnreachableError``, it is called again with the same arguments as long as ``retry``
    permits. An empty stream is written as one empty piece. ``with_crc``: compute the CRC-32, which takes a
    second for each gigabyte or two. Exceptions of ``blocks`` are raised unchanged.
    """
    offset = crc = attempts = pieces = 0

    def attempt() -> None:
        nonlocal attempts
        attempts += 1
        write(offset, piece)

    with closing(_pieces(blocks, size)) as found:
        for piece in found:
            pieces += 1
            retry.call(attempt)
            offset += len(piece)
            crc = zlib.crc32(piece, crc) if with_crc else 0
    return Written(offset, crc, interrupted=attempts > pieces)


def crc_of(blocks: Blocks) -> int:
    """Return the CRC-32 of a stream."""
    crc = 0
    for block in blocks:
        crc = zlib.crc32(block, crc)
    return crc


def _pieces(blocks: Blocks, size: int) -> Generator[memoryview, None, None]:
    """Yield the stream in pieces of ``size`` bytes; the last may be shorter.

    All pieces use the same memory, so each is valid until the next one is requested. New memory for each
    would cost more time than to copy the bytes: the system clears it page by page.
    """
    memory = memoryview(mmap(-1, size))  # a page is allocated when it is used
    filled = yielded = 0
    for block in blocks:
        rest = memoryview(block)
        while rest:
            added = min(len(rest), size - filled)
            memory[filled : filled + added] = rest[:added]
            filled += added
            rest = rest[added:]
            if filled == size:
                yield memory
                yielded += 1
                filled = 0
    if filled or not yielded:
        yield memory[:filled]
