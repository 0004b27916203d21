"""Blocks through memory that two processes share."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.errors import ToolError
from igny8_backup.streams import BLOCK
from igny8_backup.streams.shared_memory import COUNT, SIZE, Sender, Slots


@pytest.fixture(scope="module")
def ends() -> Iterator[tuple[Slots, Slots]]:
    """The memory as the two sides have it."""
    with closing(Slots()) as here, closing(Slots(os.dup(here.fd))) as there:
        yield here, there


def test_every_byte_of_blocks_of_any_size_comes_through(ends: tuple[Slots, Slots]) -> None:
    here, there = ends
    sizes = (0, 1, SIZE - 1, SIZE, SIZE + 1, 3 * SIZE + 7, COUNT * SIZE)
    blocks = [os.urandom(size) for size in sizes]
    told: list[tuple[int, int]] = []
    got = bytearray()

    def take() -> bytes:
        length, slot = told.pop(0)
        got.extend(bytes(there.room(slot)[:length]))
        return bytes((slot,))

    sender = Sender(here, tell=lambda length, slot: told.append((length, slot)), freed=take)
    for block in blocks:
        sender.send(block)
    sender.flush()
    while told:
        take()
    assert bytes(got) == b"".join(blocks)


@given(st.lists(st.integers(1, 3), max_size=40))
def test_a_slot_is_not_filled_again_before_it_is_free(ends: tuple[Slots, Slots], taken: list[int]) -> None:
    """Whatever number of slots the other side gives back at a time, what it has not taken stays as it was."""
    here, there = ends
    waiting: list[tuple[int, bytes]] = []
    turns = iter(taken)

    def free() -> bytes:
        some, waiting[:] = waiting[: (count := next(turns, 1))], waiting[count:]
        for slot, content in some:
            assert bytes(there.room(slot)[: len(content)]) == content
        return bytes(slot for slot, _ in some)

    sender = Sender(here, tell=lambda length, slot: waiting.append((slot, sent[-1])), freed=free)
    sent: list[bytes] = []
    for number in range(3 * COUNT):
        sent.append(b"%08d" % number)
        sender.send(sent[-1])
        sender.flush()
        assert len({slot for slot, _ in waiting}) == len(waiting) <= COUNT


def test_nobody_who_takes_is_said(ends: tuple[Slots, Slots]) -> None:
    sender = Sender(ends[0], tell=lambda length, slot: None, freed=lambda: b"")
    for _ in range(COUNT):
        sender.send(bytes(BLOCK))
    with pytest.raises(BrokenPipeError):
        sender.send(b"x")


def test_small_blocks_are_handed_on_together(ends: tuple[Slots, Slots]) -> None:
    told: list[int] = []
    sender = Sender(ends[0], tell=lambda length, slot: told.append(length), freed=lambda: b"")
    for _ in range(5):
        sender.send(bytes(BLOCK // 2 - 1))
    assert told == [3 * (BLOCK // 2 - 1)]
    sender.flush()
    sender.flush()
    assert told[1:] == [2 * (BLOCK // 2 - 1)]


def test_what_is_written_into_a_slot_itself_comes_through(ends: tuple[Slots, Slots]) -> None:
    here, there = ends
    told: list[tuple[int, int]] = []
    sender = Sender(here, tell=lambda length, slot: told.append((length, slot)), freed=lambda: b"")
    for content in (b"first", b"second, longer", b"3"):
        sender.room()[: len(content)] = content
        sender.sent(len(content))
    assert [bytes(there.room(slot)[:length]) for length, slot in told] == [b"first", b"second, longer", b"3"]


def test_an_error_that_holds_a_view_of_the_memory_is_not_covered_up() -> None:
    with pytest.raises(OSError, match="the reason"), closing(Slots()) as slots:
        view = slots.room(0)
        raise OSError("the reason")
    assert len(view) == SIZE
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(slots.fd)


def test_memory_that_cannot_be_had_is_told_and_leaves_no_descriptor() -> None:
    with pytest.raises(ToolError, match="to share with a process of our own: .*TMPDIR"):
        Slots(os.open(os.devnull, os.O_RDWR))  # the tests see a descriptor that is left
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(ToolError, match="Too many open files"):
            Slots()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
