"""Compress and decompress with Zstandard: frames of RFC 8878, which ``zstd -d`` opens."""

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

JOB = 2 << 20
"""Bytes that a worker of libzstd compresses at a time. At level 2 and below, which have a smaller window, it
is half of this. The default of libzstd, four windows, needs about four times the memory."""

_OVERLAP = 8
"""The overlap log of libzstd: each job also sees the half of a window before it. So small jobs find as many
repetitions as jobs of twice the size do by default."""
_FAST_LEVEL = 3
"""The highest level at which the overlap costs next to nothing. Above it, the default of libzstd is used."""

PIECE = 512 << 10
"""Largest number of bytes that are decompressed at a time. With fewer bytes, the thread waits more often for
the GIL, which decryption holds for a millisecond or two. More bytes would only take more memory."""

_ADJUSTED: dict[int, dict[int, int]] = {
    2: {zstd.CompressionParameter.hash_log: 17},
    3: {zstd.CompressionParameter.min_match: 6},
}
"""Options that are added at a level. Level 2, which is for files: a hash table of twice the size finds more
repetitions in similar pages of a web site. Level 3, which is for dumps: it does not look for repetitions of 5
bytes. In uuids, digests and numbers, these are chance, and make the result larger and take a quarter of the
time. Text becomes at most 1.5 % larger."""


def compress(blocks: Views, *, level: int = DEFAULT_LEVEL, workers: int = DEFAULT_WORKERS) -> Blocks:
    """Compress the stream into one frame with a checksum. An empty stream becomes an empty frame.

    ``level`` is the compression level of zstd. ``workers`` threads of libzstd compress outside the GIL, in
    parallel with the source and the consumer.
    """
    parameter = zstd.CompressionParameter
    with contextlib.closing(blocks):
        compressor = zstd.ZstdCompressor(
            options={
                **_options(level),
                # A libzstd that was built without threads allows 0 only.
                parameter.nb_workers: min(workers, parameter.nb_workers.bounds()[1]),
                parameter.job_size: min(JOB if level > 2 else JOB // 2, parameter.job_size.bounds()[1]),
                **({parameter.overlap_log: _OVERLAP} if workers and level <= _FAST_LEVEL else {}),
            }
        )
        pieces = (compressor.compress(block) for block in blocks)
        last = (compressor.flush(end) for end in (compressor.FLUSH_FRAME,))
        yield from _in_blocks(itertools.chain(pieces, last))


def compress_at_once(content: bytes | memoryview, *, level: int = DEFAULT_LEVEL) -> Blocks:
    """Compress ``content`` into one frame with a checksum, in the thread of the consumer.

    That takes a tenth less time than :func:`compress`, because libzstd copies nothing, and memory only for
    the result. ``content`` must not change until the first block is yielded.
    """
    compressor = zstd.ZstdCompressor(options=_options(level))
    yield from _in_blocks([compressor.compress(content, compressor.FLUSH_FRAME)])


def _options(level: int) -> dict[int, int]:
    parameter = zstd.CompressionParameter
    adjusted = _ADJUSTED.get(level, {})
    return {parameter.compression_level: level, **adjusted, parameter.checksum_flag: 1}


def decompress(blocks: Blocks) -> Blocks:
    """Decompress one or more frames into blocks of at most ``PIECE`` bytes.

    Runs in a thread, in parallel with the source and the consumer. Raises ``IntegrityError`` if the stream
    was altered, is empty, ends inside a frame, or continues with other data. The same error is raised if
    decompression needs a window (memory for earlier data) above 128 MiB, which this package never writes.
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
            raise IntegrityError("The compressed data is incomplete.")


def _in_blocks(pieces: Iterable[bytes]) -> Blocks:
    """Yield ``pieces``, which libzstd returns in any size, as blocks of about ``BLOCK`` bytes."""
    small: list[bytes] = []
    size = 0
    for piece in pieces:
        if small and size + len(piece) > BLOCK:
            yield b"".join(small)
            small, size = [], 0
        if len(piece) > BLOCK:
            view = memoryview(piece)
            for start in range(0, len(piece), BLOCK):
                yield bytes(view[start : start + BLOCK])
        elif piece:
            small.append(piece)
            size += len(piece)
    if small:
        yield b"".join(small)
