from __future__ import annotations

import contextlib
import gc
import os
import shutil
import threading
from typing import BinaryIO, cast

import pytest

from igny8_backup.streams import BLOCK
from igny8_backup.streams.handover import Push, pull_through
from igny8_backup.streams.pipeline import from_bytes
from tests.streams.conftest import Source

SIZES = sorted({0, 1, *(n + d for n in (8192, 65536, 65552, BLOCK, 3 * BLOCK) for d in (-1, 0, 1))})


def copy(piece: int) -> Push:
    return lambda reader, writer: shutil.copyfileobj(reader, writer, piece)


@pytest.mark.parametrize("piece", [8192, 65552, BLOCK, 5 * BLOCK])
@pytest.mark.parametrize("size", SIZES)
def test_every_byte_comes_through_to_the_last(size: int, piece: int) -> None:
    content = os.urandom(size)
    blocks = list(pull_through(copy(piece), from_bytes(content)))
    assert b"".join(blocks) == content
    assert all(blocks)


def test_small_pieces_are_gathered_into_blocks() -> None:
    blocks = list(pull_through(copy(1000), from_bytes(bytes(4 * BLOCK))))
    assert len(blocks) <= 5


def test_blocks_of_any_size_are_taken(source: type[Source]) -> None:
    stream = source(b"a", b"bc" * BLOCK, b"d").stream()
    assert b"".join(pull_through(copy(100), stream)) == b"a" + b"bc" * BLOCK + b"d"


def test_an_empty_block_is_not_taken_for_the_end(source: type[Source]) -> None:
    stream = source(b"", b"a", b"", b"", b"b", b"").stream()
    assert b"".join(pull_through(copy(100), stream)) == b"ab"


def test_only_the_consumer_pulls_the_source(source: type[Source]) -> None:
    blocks = source(*[bytes(BLOCK)] * 5)
    pushers = set()

    def push(reader: BinaryIO, writer: BinaryIO) -> None:
        pushers.add(threading.get_ident())
        copy(8192)(reader, writer)

    assert sum(map(len, pull_through(push, blocks.stream()))) == 5 * BLOCK
    assert blocks.threads == {threading.get_ident()}
    assert pushers
    assert threading.get_ident() not in pushers


def test_what_the_source_raises_comes_as_itself(source: type[Source]) -> None:
    broken = ConnectionResetError("storage went away")
    blocks = source(bytes(BLOCK), bytes(BLOCK), error=broken)
    with pytest.raises(ConnectionResetError) as caught:
        list(pull_through(copy(8192), blocks.stream()))
    assert caught.value is broken


@pytest.mark.parametrize("error", [ValueError("push"), KeyboardInterrupt(), SystemExit(3)])
def test_what_the_push_loop_raises_comes_to_the_consumer(source: type[Source], error: BaseException) -> None:
    def push(reader: BinaryIO, writer: BinaryIO) -> None:
        reader.read(BLOCK)
        writer.write(b"something")
        raise error

    blocks = source(*[bytes(BLOCK)] * 5)
    with pytest.raises(type(error)) as caught:
        list(pull_through(push, blocks.stream()))
    assert caught.value is error
    assert blocks.closed


def test_nothing_written_by_a_push_loop_that_fails_comes_after_the_failure(source: type[Source]) -> None:
    def push(reader: BinaryIO, writer: BinaryIO) -> None:
        writer.write(b"buffered only")
        raise ValueError

    stream = pull_through(push, from_bytes(b""))
    with pytest.raises(ValueError):
        next(stream)


def test_a_push_loop_that_is_done_early_leaves_the_rest_and_closes_the_source(source: type[Source]) -> None:
    def push(reader: BinaryIO, writer: BinaryIO) -> None:
        writer.write(reader.read(10))

    blocks = source(*[bytes(BLOCK)] * 5)
    stream = pull_through(push, blocks.stream())
    assert list(stream) == [bytes(10)]
    assert blocks.closed


def test_a_failing_write_that_the_push_loop_swallows_is_raised() -> None:
    """pyrage loses the failure of its last write; what came out then only looks complete."""

    def push(reader: BinaryIO, writer: BinaryIO) -> None:
        with contextlib.suppress(TypeError):
            writer.write(cast(bytes, None))

    with pytest.raises(TypeError):
        list(pull_through(push, from_bytes(b"content")))


@pytest.mark.parametrize("taken", range(5))
def test_closing_early_ends_the_thread_and_closes_the_source(source: type[Source], taken: int) -> None:
    blocks = source(*[bytes(BLOCK)] * 10)
    stream = pull_through(copy(8192), blocks.stream())
    for _ in range(taken):
        next(stream)
    stream.close()
    assert blocks.closed is (taken > 0)
    assert not [thread for thread in threading.enumerate() if thread.name == "igny8-backup-stream"]


def test_closing_ends_even_a_push_loop_that_swallows_errors_and_goes_on(source: type[Source]) -> None:
    failures = []

    def push(reader: BinaryIO, writer: BinaryIO) -> None:
        for _ in range(20):
            try:
                writer.write(reader.read(BLOCK))
            except Exception as error:
                failures.append(error)

    stream = pull_through(push, source(*[bytes(BLOCK)] * 30).stream())
    next(stream)
    stream.close()
    assert failures


def test_a_forgotten_stream_ends_its_thread(source: type[Source]) -> None:
    blocks = source(*[bytes(BLOCK)] * 10)
    stream = pull_through(copy(8192), blocks.stream())
    next(stream)
    del stream
    gc.collect()
    assert blocks.closed


def test_an_exception_in_the_consumer_ends_the_thread(source: type[Source]) -> None:
    blocks = source(*[bytes(BLOCK)] * 10)
    stream = pull_through(copy(8192), blocks.stream())
    next(stream)
    with pytest.raises(ZeroDivisionError):
        stream.throw(ZeroDivisionError())
    assert blocks.closed
