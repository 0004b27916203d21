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
    """Yield the blocks unchanged."""
    with contextlib.closing(blocks):
        yield from blocks


def pieces_of(size: int) -> Stage:
    """Return a stage that splits its blocks into pieces of ``size`` bytes."""

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
def test_run_in_thread_yields_every_byte(size: int, piece: int) -> None:
    content = os.urandom(size)
    assert b"".join(run_in_thread(pieces_of(piece), from_bytes(content))) == content
    assert not threads()


@pytest.mark.parametrize("count", range(3 * (FETCHED_AHEAD + MADE_AHEAD)))
def test_run_in_thread_keeps_blocks_and_order(source: type[Source], count: int) -> None:
    blocks = source(*numbered(count))
    assert list(run_in_thread(copy, blocks.stream())) == numbered(count)
    assert blocks.closed


def test_run_in_thread_empty_block_is_not_the_end(source: type[Source]) -> None:
    assert b"".join(run_in_thread(copy, source(b"", b"a", b"", b"b", b"").stream())) == b"ab"


def test_run_in_thread_stage_may_merge_and_split_blocks(source: type[Source]) -> None:
    def stage(blocks: Blocks) -> Blocks:
        yield b"".join(blocks)
        yield from numbered(50)

    assert list(run_in_thread(stage, source(*numbered(50)).stream())) == [
        b"".join(numbered(50)),
        *numbered(50),
    ]


def test_run_in_thread_pulls_in_consumer_and_works_in_thread(source: type[Source]) -> None:
    blocks = source(*numbered(20))
    workers = set()

    def stage(blocks: Blocks) -> Blocks:
        for block in blocks:
            workers.add(threading.get_ident())
            yield block

    assert len(list(run_in_thread(stage, blocks.stream()))) == 20
    assert blocks.threads == {threading.get_ident()}
    assert len(workers) == 1 and threading.get_ident() not in workers


def test_run_in_thread_works_while_the_consumer_is_busy(source: type[Source]) -> None:
    made = threading.Semaphore(0)

    def stage(blocks: Blocks) -> Blocks:
        for block in blocks:
            made.release()
            yield block

    stream = run_in_thread(stage, source(*numbered(30)).stream())
    next(stream)
    for _ in range(1 + FETCHED_AHEAD):  # blocks that were fetched earlier, without another next()
        assert made.acquire(timeout=60)
    stream.close()


def test_run_in_thread_limits_blocks_ahead() -> None:
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
            while made < taken + MADE_AHEAD:  # until the producer waits for a permit
                assert more.acquire(timeout=60)
            time.sleep(0.0005)
            assert made == taken + MADE_AHEAD
            assert pulled <= made // 10 + 1 + FETCHED_AHEAD


@pytest.mark.parametrize("count", range(2 * (FETCHED_AHEAD + MADE_AHEAD)))
def test_run_in_thread_source_exception_comes_after_earlier_blocks(source: type[Source], count: int) -> None:
    broken = ConnectionResetError("storage went away")
    received = []
    with pytest.raises(ConnectionResetError) as caught:
        for block in run_in_thread(copy, source(*numbered(count), error=broken).stream()):
            received.append(block)
    assert caught.value is broken
    assert received == numbered(count)


@pytest.mark.parametrize("error", [ValueError("stage"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("count", range(2 * MADE_AHEAD))
def test_run_in_thread_stage_exception_comes_after_earlier_blocks(
    source: type[Source], count: int, error: BaseException
) -> None:
    def stage(blocks: Blocks) -> Blocks:
        for _, block in zip(range(count), blocks, strict=False):
            yield block
        raise error

    blocks = source(*numbered(30))
    received = []
    with pytest.raises(type(error)) as caught:
        for block in run_in_thread(stage, blocks.stream()):
            received.append(block)
    assert caught.value is error
    assert received == numbered(count)
    assert blocks.closed and not threads()


def test_run_in_thread_stage_ending_early_closes_the_source(source: type[Source]) -> None:
    blocks = source(*numbered(30))
    assert list(run_in_thread(lambda blocks: (next(blocks) for _ in range(1)), blocks.stream())) == [b"\0"]
    assert blocks.closed and not threads()


@pytest.mark.parametrize("taken", range(3 * (FETCHED_AHEAD + MADE_AHEAD)))
@pytest.mark.parametrize("stage", [copy, pieces_of(1)])
def test_run_in_thread_closed_early_ends_thread_and_closes_source(
    source: type[Source], stage: Stage, taken: int
) -> None:
    blocks = source(*[b"ab"] * 40)
    stream = run_in_thread(stage, blocks.stream())
    for _ in range(taken):
        next(stream)
    stream.close()
    assert blocks.closed is (taken > 0)
    assert not threads()


def test_run_in_thread_closed_ends_waiting_stage(source: type[Source]) -> None:
    def stage(blocks: Blocks) -> Blocks:
        with contextlib.suppress(Exception):
            yield from blocks
        for _ in range(100):
            yield b"still there"

    stream = run_in_thread(stage, source(*numbered(30)).stream())
    next(stream)
    stream.close()
    assert not threads()


def test_run_in_thread_interrupt_in_source_is_raised_at_once(source: type[Source]) -> None:
    """An exception raised by a signal handler does not wait for earlier blocks."""
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


def test_run_in_thread_garbage_collected_ends_its_thread(source: type[Source]) -> None:
    blocks = source(*numbered(30))
    stream = run_in_thread(copy, blocks.stream())
    next(stream)
    del stream
    gc.collect()
    assert blocks.closed and not threads()


def test_run_in_thread_consumer_exception_ends_the_thread(source: type[Source]) -> None:
    blocks = source(*numbered(30))
    stream = run_in_thread(copy, blocks.stream())
    next(stream)
    with pytest.raises(ZeroDivisionError):
        stream.throw(ZeroDivisionError())
    assert blocks.closed and not threads()
