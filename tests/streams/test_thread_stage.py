from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from collections.abc import Callable

import pytest

from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.pipeline import from_bytes
from igny8_backup.streams.thread_stage import FETCHED_AHEAD, MADE_AHEAD, run_in_thread
from tests.streams.conftest import Source

Stage = Callable[[Blocks], Blocks]
PIECE = 65536
SIZES = sorted({0, 1, *(n + d for n in (PIECE, BLOCK, 3 * BLOCK) for d in (-1, 0, 1))})


def copy(blocks: Blocks) -> Blocks:
    """A stage, as good as any."""
    with contextlib.closing(blocks):
        yield from blocks


def pieces_of(size: int) -> Stage:
    """A stage that gives what it gets in pieces."""

    def stage(blocks: Blocks) -> Blocks:
        with contextlib.closing(blocks):
            for block in blocks:
                yield from (block[start : start + size] for start in range(0, len(block), size))

    return stage


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "igny8-backup-stream"]


def numbered(count: int) -> list[bytes]:
    return [bytes([number]) for number in range(count)]


@pytest.mark.parametrize("piece", [1000, PIECE, 5 * BLOCK])
@pytest.mark.parametrize("size", SIZES)
def test_every_byte_comes_through_to_the_last(size: int, piece: int) -> None:
    content = os.urandom(size)
    assert b"".join(run_in_thread(pieces_of(piece), from_bytes(content))) == content
    assert not threads()


@pytest.mark.parametrize("count", range(3 * (FETCHED_AHEAD + MADE_AHEAD)))
def test_blocks_come_one_by_one_in_their_order(source: type[Source], count: int) -> None:
    blocks = source(*numbered(count))
    assert list(run_in_thread(copy, blocks.stream())) == numbered(count)
    assert blocks.closed


def test_an_empty_block_is_not_taken_for_the_end(source: type[Source]) -> None:
    assert b"".join(run_in_thread(copy, source(b"", b"a", b"", b"b", b"").stream())) == b"ab"


def test_a_stage_may_make_one_block_of_many_and_many_of_one(source: type[Source]) -> None:
    def stage(blocks: Blocks) -> Blocks:
        whole = b"".join(blocks)
        yield whole
        yield from numbered(50)

    assert list(run_in_thread(stage, source(*numbered(50)).stream())) == [
        b"".join(numbered(50)),
        *numbered(50),
    ]


def test_only_the_consumer_pulls_the_source_and_only_the_thread_works(source: type[Source]) -> None:
    blocks = source(*numbered(20))
    workers = set()

    def stage(blocks: Blocks) -> Blocks:
        for block in blocks:
            workers.add(threading.get_ident())
            yield block

    assert len(list(run_in_thread(stage, blocks.stream()))) == 20
    assert blocks.threads == {threading.get_ident()}
    assert len(workers) == 1 and threading.get_ident() not in workers


def test_the_stage_works_while_the_consumer_does_something_else(source: type[Source]) -> None:
    made = threading.Semaphore(0)

    def stage(blocks: Blocks) -> Blocks:
        for block in blocks:
            made.release()
            yield block

    stream = run_in_thread(stage, source(*numbered(30)).stream())
    next(stream)
    for _ in range(1 + FETCHED_AHEAD):  # what it was given beforehand, without another next()
        assert made.acquire(timeout=60)
    stream.close()


def test_neither_side_runs_far_ahead() -> None:
    pulled, made, more = 0, 0, threading.Semaphore(0)

    def source() -> Blocks:
        nonlocal pulled
        for _ in range(30):
            pulled += 1
            yield b"0123456789"

    def stage(blocks: Blocks) -> Blocks:
        nonlocal made
        for piece in pieces_of(1)(blocks):
            made += 1
            more.release()
            yield piece

    with contextlib.closing(run_in_thread(stage, source())) as stream:
        for taken in range(1, 200):
            next(stream)
            while made < taken + MADE_AHEAD:  # one more than there is room for
                assert more.acquire(timeout=60)
            time.sleep(0.0005)
            assert made == taken + MADE_AHEAD
            assert pulled <= made // 10 + 1 + FETCHED_AHEAD


@pytest.mark.parametrize("count", range(2 * (FETCHED_AHEAD + MADE_AHEAD)))
def test_what_the_source_raises_comes_as_itself_after_all_that_came_before(
    source: type[Source], count: int
) -> None:
    broken = ConnectionResetError("storage went away")
    given = []
    with pytest.raises(ConnectionResetError) as caught:
        for block in run_in_thread(copy, source(*numbered(count), error=broken).stream()):
            given.append(block)
    assert caught.value is broken
    assert given == numbered(count)


@pytest.mark.parametrize("error", [ValueError("stage"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("count", range(2 * MADE_AHEAD))
def test_what_the_stage_raises_comes_after_all_that_it_made(
    source: type[Source], count: int, error: BaseException
) -> None:
    def stage(blocks: Blocks) -> Blocks:
        for _, block in zip(range(count), blocks, strict=False):
            yield block
        raise error

    blocks = source(*numbered(30))
    given = []
    with pytest.raises(type(error)) as caught:
        for block in run_in_thread(stage, blocks.stream()):
            given.append(block)
    assert caught.value is error
    assert given == numbered(count)
    assert blocks.closed and not threads()


def test_a_stage_that_is_done_early_leaves_the_rest_and_closes_the_source(source: type[Source]) -> None:
    blocks = source(*numbered(30))
    assert list(run_in_thread(lambda blocks: (next(blocks) for _ in range(1)), blocks.stream())) == [b"\0"]
    assert blocks.closed and not threads()


@pytest.mark.parametrize("taken", range(3 * (FETCHED_AHEAD + MADE_AHEAD)))
@pytest.mark.parametrize("stage", [copy, pieces_of(1)])
def test_closing_early_ends_the_thread_and_closes_the_source(
    source: type[Source], stage: Stage, taken: int
) -> None:
    blocks = source(*[b"ab"] * 40)
    stream = run_in_thread(stage, blocks.stream())
    for _ in range(taken):
        next(stream)
    stream.close()
    assert blocks.closed is (taken > 0)
    assert not threads()


def test_closing_ends_a_stage_that_waits_for_more_and_one_that_swallows_its_end(source: type[Source]) -> None:
    def stage(blocks: Blocks) -> Blocks:
        with contextlib.suppress(Exception):
            yield from blocks
        for _ in range(100):
            yield b"still there"

    stream = run_in_thread(stage, source(*numbered(30)).stream())
    next(stream)
    stream.close()
    assert not threads()


def test_an_exception_from_outside_while_the_source_is_read_goes_on_at_once(source: type[Source]) -> None:
    """As a signal brings it: it is not of the stream, and waits for nothing."""
    release = threading.Event()

    def stage(blocks: Blocks) -> Blocks:
        next(blocks)
        release.wait(60)
        yield from blocks

    def interrupted() -> Blocks:
        yield b"a"
        release.set()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_in_thread(stage, interrupted()))
    assert not threads()


def test_a_forgotten_stream_ends_its_thread(source: type[Source]) -> None:
    blocks = source(*numbered(30))
    stream = run_in_thread(copy, blocks.stream())
    next(stream)
    del stream
    gc.collect()
    assert blocks.closed and not threads()


def test_an_exception_in_the_consumer_ends_the_thread(source: type[Source]) -> None:
    blocks = source(*numbered(30))
    stream = run_in_thread(copy, blocks.stream())
    next(stream)
    with pytest.raises(ZeroDivisionError):
        stream.throw(ZeroDivisionError())
    assert blocks.closed and not threads()
