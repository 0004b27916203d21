"""Zstandard, both directions: RFC 8878 frames that ``zstd -d`` opens."""

from __future__ import annotations

import contextlib
import sys

from igny8_backup.errors import IntegrityError
from igny8_backup.streams import BLOCK, Blocks

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DEFAULT_LEVEL = 3
DEFAULT_WORKERS = 2

JOB = 4 << 20
"""Bytes that a worker takes at a time. libzstd's own choice, four windows, keeps twice as much in memory
(112 MiB at level 3, against 56) and packs a thousandth tighter."""


_WIDER: dict[int, int] = {zstd.CompressionParameter.hash_log: 17}
"""Added to level 2: a table twice as large finds more in pages of one site, which resemble each other."""


def compress(blocks: Blocks, *, level: int = DEFAULT_LEVEL, workers: int = DEFAULT_WORKERS) -> Blocks:
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
        # Workers hand their output over in pieces from a few bytes to many megabytes.
        gathered = bytearray()
        for block in blocks:
            gathered += compressor.compress(block)
            yield from _whole_blocks(gathered)
        gathered += compressor.flush(compressor.FLUSH_FRAME)
        yield from _whole_blocks(gathered)
        yield bytes(gathered)


def decompress(blocks: Blocks) -> Blocks:
    """The content of one or more frames, in blocks of at most ``BLOCK`` bytes whatever the ratio.

    Raises ``IntegrityError`` where the stream is altered, ends within a frame or before the first, or goes
    on with something else. A window over 128 MiB (never written here) is refused as well.
    """
    decompressor = zstd.ZstdDecompressor()
    with contextlib.closing(blocks):
        for block in blocks:
            rest = block
            while rest or not (decompressor.eof or decompressor.needs_input):
                if decompressor.eof:
                    decompressor = zstd.ZstdDecompressor()
                try:
                    content = decompressor.decompress(rest, BLOCK)
                except zstd.ZstdError as error:
                    raise IntegrityError(f"The compressed data is damaged ({error}).") from None
                if content:
                    yield content
                rest = decompressor.unused_data
        if not decompressor.eof:
            raise IntegrityError("The compressed data ends too early: it was cut off.")


def _whole_blocks(gathered: bytearray) -> Blocks:
    """Take whole blocks off the front of ``gathered``."""
    while len(gathered) > BLOCK:
        yield bytes(gathered[:BLOCK])
        del gathered[:BLOCK]
