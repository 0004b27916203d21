"""The memory of a run: what its parts take together stays below the limit for a folder as storage.

All streams of a run share this limit. Whoever makes a buffer larger, or adds a stream, must take the memory
from another part. ``python -m benchmarks.memory`` measures what the parts really take.
"""

from __future__ import annotations

import pytest

from igny8_backup.chunks.locations import PACK_BYTES
from igny8_backup.chunks.reader import KEPT_BYTES
from igny8_backup.chunks.writer import WINDOW
from igny8_backup.databases.postgresql.dump.placement import archives_of
from igny8_backup.formats.lists import BLOCK_BYTES
from igny8_backup.operations.backup.chunked.attempt import STORED_BEHIND
from igny8_backup.operations.backup.trees.large_files import SHARE_OF_WINDOW
from igny8_backup.operations.read.dump import kept_bytes_of
from igny8_backup.operations.read.tree_packs import KEPT_BYTES_OF_TREE
from igny8_backup.operations.restore.unpack import READERS
from igny8_backup.store.pieces import PIECE
from igny8_backup.streams import BLOCK, shared_memory
from igny8_backup.streams.side_by_side import MOST_CHUNKED_STREAMS, MOST_STREAMS
from igny8_backup.streams.thread_stage import FETCHED_AHEAD, MADE_AHEAD
from igny8_backup.streams.zstd import JOB

MIB = 1 << 20
LIMIT = 160 * MIB

# Measured: what a process needs before it reads the first block.
COMMAND, WORKER, PG_DUMP = 62 * MIB, 11 * MIB, 5 * MIB

SLOTS = shared_memory.COUNT * shared_memory.SIZE
STAGE = (FETCHED_AHEAD + MADE_AHEAD + 1) * BLOCK
ENCRYPTED = 2 * STAGE
SERIAL_COMPRESSOR = 4 * MIB


def compressor(workers: int, job: int) -> int:
    """Return the memory of a compressor: its input, three slots of slack, the output, and its tables."""
    return (workers + 3) * job + (workers + 1) * job + workers * 2 * MIB if workers else SERIAL_COMPRESSOR


TREE = COMMAND + 2 * WORKER + SLOTS + ENCRYPTED + PIECE
CHUNKS = PACK_BYTES + min(PIECE, PACK_BYTES) + SERIAL_COMPRESSOR + ENCRYPTED
DECODED = BLOCK_BYTES + 2 * STAGE
"""A stream that is read: a block whose digest is checked, decryption and decompression."""

RUNS = {
    "a tree": TREE + compressor(2, JOB // 2),
    "a tree with large files in chunks": TREE + compressor(1, JOB // 2) + WINDOW // SHARE_OF_WINDOW + CHUNKS,
    "a dump": COMMAND + PG_DUMP + compressor(2, JOB) + ENCRYPTED + PIECE,
    "dumps side by side": COMMAND
    + archives_of(MOST_STREAMS) * PG_DUMP
    + MOST_STREAMS * (SERIAL_COMPRESSOR + ENCRYPTED)
    + MOST_STREAMS * PIECE // 2,
    "a dump in chunks": COMMAND
    + PG_DUMP
    + CHUNKS
    + STORED_BEHIND * PACK_BYTES
    + (STORED_BEHIND - 1) * (CHUNKS - PACK_BYTES)
    + WINDOW,
    "dumps in chunks": COMMAND
    + archives_of(MOST_CHUNKED_STREAMS) * PG_DUMP
    + MOST_CHUNKED_STREAMS * CHUNKS
    + WINDOW,
    "the restore of a tree": COMMAND + READERS * (WORKER + SLOTS + DECODED),
    "the restore of large files": COMMAND
    + READERS * (WORKER + SLOTS + DECODED)
    + PACK_BYTES
    + KEPT_BYTES_OF_TREE,
    "the restore of dumps in chunks": COMMAND
    + MOST_STREAMS * (PG_DUMP + kept_bytes_of(MOST_STREAMS) + PACK_BYTES + DECODED),
    "the restore of a dump in chunks": COMMAND + PG_DUMP + KEPT_BYTES + PACK_BYTES + DECODED,
}


@pytest.mark.parametrize("run", RUNS)
def test_parts_of_a_run_together_need_at_most_the_limit(run: str) -> None:
    assert RUNS[run] <= LIMIT, f"{run}: {RUNS[run] / MIB:.0f} MiB"
