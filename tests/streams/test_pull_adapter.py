from __future__ import annotations

import contextlib
import gc
import os
import shutil
import threading
from typing import BinaryIO, cast

import pytest

from igny8_backup.streams import BLOCK
from igny8_backup.streams.pipeline import from_bytes
from igny8_backup.streams.pull_adapter import CopyLoop, pull_through
from tests.streams.conftest import Source

SIZES = sorted({0, 1, *(n + d for n in (8192, 65536, 65552, BLOCK, 3 * BLOCK) for d in (-1, 0, 1))})


def copy(piece: int) -> CopyLoop:
    return lambda reader, writer: shutil.copyfileobj(reader, writer, piece)


@pytest.mark.parametrize("piece", [8192, 65552, BLOCK, 5 * BLOCK])
@pytest.mark.parametrize("size", SIZES)
def test_pull_through_yields_every_byte(size: int, piece: int) -> None:
    content = os.urandom(size)
    blocks = list(pull_through(copy(piece), from_bytes(content)))
    assert b"".join(blocks) == content
    assert all(blocks)


def test_pull_through_collects_small_pieces() -> None:
    blocks = list(pull_through(copy(1000), from_bytes(bytes(4 * BLOCK))))
    assert len(blocks) <= 5


def test_pull_through_accepts_blocks_of_any_size(source: type[Source]) -> None:
    stream = source(b"a", b"bc" * BLOCK, b"d").stream()
    assert b"".join(pull_through(copy(100), stream)) == b"a" + b"bc" * BLOCK + b"d"


def test_pull_through_empty_block_is_not_the_end(source: type[Source]) -> None:
    stream = source(b"", b"a", b"", b"", b"b", b"").stream()
    assert b"".join(pull_through(copy(100), stream)) == b"ab"


def test_pull_through_pulls_source_in_consumer_thread(source: type[Source]) -> None:
    blocks = source(*[bytes(BLOCK)] * 5)
    loop_threads = set()

    def loop(reader: BinaryIO, writer: BinaryIO) -> None:
        loop_threads.add(threading.get_ident())
        copy(8192)(reader, writer)

    assert sum(map(len, pull_through(loop, blocks.stream()))) == 5 * BLOCK
    assert blocks.threads == {threading.get_ident()}
    assert loop_threads
    assert threading.get_ident() not in loop_threads


def test_pull_through_source_exception_passes_unchanged(source: type[Source]) -> None:
    broken = ConnectionResetError("storage went away")
    blocks = source(bytes(BLOCK), bytes(BLOCK), error=broken)
    with pytest.raises(ConnectionResetError) as caught:
        list(pull_through(copy(8192), blocks.stream()))
    assert caught.value is broken


@pytest.mark.parametrize("error", [ValueError("loop"), KeyboardInterrupt(), SystemExit(3)])
def test_pull_through_loop_exception_reaches_the_consumer(source: type[Source], error: BaseException) -> None:
    def loop(reader: BinaryIO, writer: BinaryIO) -> None:
        reader.read(BLOCK)
        writer.write(b"something")
        raise error

    blocks = source(*[bytes(BLOCK)] * 5)
    with pytest.raises(type(error)) as caught:
        list(pull_through(loop, blocks.stream()))
    assert caught.value is error
    assert blocks.closed


def test_pull_through_failing_loop_yields_nothing_after_the_failure(source: type[Source]) -> None:
    def loop(reader: BinaryIO, writer: BinaryIO) -> None:
        writer.write(b"buffered only")
        raise ValueError

    stream = pull_through(loop, from_bytes(b""))
    with pytest.raises(ValueError):
        next(stream)


def test_pull_through_loop_ending_early_closes_the_source(source: type[Source]) -> None:
    def loop(reader: BinaryIO, writer: BinaryIO) -> None:
        writer.write(reader.read(10))

    blocks = source(*[bytes(BLOCK)] * 5)
    stream = pull_through(loop, blocks.stream())
    assert list(stream) == [bytes(10)]
    assert blocks.closed


def test_pull_through_write_error_swallowed_by_loop_is_raised() -> None:
    """pyrage loses an error of its last write, so that incomplete output looks complete."""

    def loop(reader: BinaryIO, writer: BinaryIO) -> None:
        with contextlib.suppress(TypeError):
            writer.write(cast(bytes, None))

    with pytest.raises(TypeError):
        list(pull_through(loop, from_bytes(b"content")))


@pytest.mark.parametrize("taken", range(5))
def test_pull_through_closed_early_ends_thread_and_closes_source(source: type[Source], taken: int) -> None:
    blocks = source(*[bytes(BLOCK)] * 10)
    stream = pull_through(copy(8192), blocks.stream())
    for _ in range(taken):
        next(stream)
    stream.close()
    assert blocks.closed is (taken > 0)
    assert not [thread for thread in threading.enumerate() if thread.name == "igny8-backup-stream"]


def test_pull_through_closed_with_loop_swallowing_errors_ends(source: type[Source]) -> None:
    failures = []

    def loop(reader: BinaryIO, writer: BinaryIO) -> None:
        for _ in range(20):
            try:
                writer.write(reader.read(BLOCK))
            except Exception as error:
                failures.append(error)

    stream = pull_through(loop, source(*[bytes(BLOCK)] * 30).stream())
    next(stream)
    stream.close()
    assert failures


def test_pull_through_garbage_collected_ends_its_thread(source: type[Source]) -> None:
    blocks = source(*[bytes(BLOCK)] * 10)
    stream = pull_through(copy(8192), blocks.stream())
    next(stream)
    del stream
    gc.collect()
    assert blocks.closed


def test_pull_through_consumer_exception_ends_the_thread(source: type[Source]) -> None:
    blocks = source(*[bytes(BLOCK)] * 10)
    stream = pull_through(copy(8192), blocks.stream())
    next(stream)
    with pytest.raises(ZeroDivisionError):
        stream.throw(ZeroDivisionError())
    assert blocks.closed
