"""Zstandard, both directions: RFC 8878 frames that ``zstd -d`` opens."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterable

from igny8_backup.errors import IntegrityError
from igny8_backup.streams import BLOCK, Blocks, Views
from igny8_backup.streams.thread_stage import run_in_thread

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DEFAULT_LEVEL = 3
DEFAULT_WORKERS = 2

JOB = 4 << 20
"""Bytes that a worker takes at a time. libzstd's own choice, four windows, keeps twice as much in memory
(112 MiB at level 3, against 56) and packs a thousandth tighter."""

PIECE = 512 << 10
"""Bytes that are decompressed at a time, at most. Fewer, and the thread waits more often for the GIL, which
decryption beside it holds for a millisecond or two; more only takes more memory."""

_WIDER: dict[int, int] = {zstd.CompressionParameter.hash_log: 17}
"""Added to level 2: a table twice as large finds more in pages of one site, which resemble each other."""


def compress(blocks: Views, *, level: int = DEFAULT_LEVEL, workers: int = DEFAULT_WORKERS) -> Blocks:
    """One frame with a checksum of the content; a frame also for a stream without bytes.

    ``workers`` threads of libzstd compress outside the GIL, beside the source and the consumer.
    """
    parameter = zstd.CompressionParameter
    with contextlib.closing(blocks):
        compressor = zstd.ZstdCompressor(
            options={
                parameter.compression_level: level,
                **(_WIDER if level == 2 else {}),
                parameter.checksum_flag: 1,
                # A libzstd built without threads allows none.
                parameter.nb_workers: min(workers, parameter.nb_workers.bounds()[1]),
                parameter.job_size: min(JOB, parameter.job_size.bounds()[1]),
            }
        )
        pieces = (compressor.compress(block) for block in blocks)
        last = (compressor.flush(end) for end in (compressor.FLUSH_FRAME,))
        yield from _in_blocks(itertools.chain(pieces, last))


def decompress(blocks: Blocks) -> Blocks:
    """The content of one or more frames, in blocks of at most ``PIECE`` bytes whatever the ratio, made in a
    thread beside the source and the consumer.

    Raises ``IntegrityError`` where the stream is altered, ends within a frame or before the first, or goes
    on with something else. A window over 128 MiB (never written here) is refused as well.
    """
    return run_in_thread(_decompressed, blocks)


def _decompressed(blocks: Blocks) -> Blocks:
    decompressor = zstd.ZstdDecompressor()
    with contextlib.closing(blocks):
        for block in blocks:
            rest = block
            while rest or not (decompressor.eof or decompressor.needs_input):
                if decompressor.eof:
                    decompressor = zstd.ZstdDecompressor()
                try:
                    content = decompressor.decompress(rest, PIECE)
                except zstd.ZstdError as error:
                    raise IntegrityError(f"The compressed data is damaged ({error}).") from None
                if content:
                    yield content
                rest = decompressor.unused_data
        if not decompressor.eof:
            raise IntegrityError("The compressed data ends too early: it was cut off.")


def _in_blocks(pieces: Iterable[bytes]) -> Blocks:
    """The same bytes: libzstd's workers hand them over in pieces from none to many megabytes."""
    small: list[bytes] = []
    held = 0
    for piece in pieces:
        if small and held + len(piece) > BLOCK:
            yield b"".join(small)
            small, held = [], 0
        if len(piece) > BLOCK:
            view = memoryview(piece)
            for at in range(0, len(piece), BLOCK):
                yield bytes(view[at : at + BLOCK])
        elif piece:
            small.append(piece)
            held += len(piece)
    if small:
        yield b"".join(small)
