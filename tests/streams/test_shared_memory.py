"""Passing blocks through shared memory."""

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
    """The same memory as the sending and the receiving process have it."""
    with closing(Slots()) as here, closing(Slots(os.dup(here.fd))) as there:
        yield here, there


def test_sender_blocks_of_any_size_arrive_unchanged(ends: tuple[Slots, Slots]) -> None:
    here, there = ends
    sizes = (0, 1, SIZE - 1, SIZE, SIZE + 1, 3 * SIZE + 7, COUNT * SIZE)
    blocks = [os.urandom(size) for size in sizes]
    announced: list[tuple[int, int]] = []
    received = bytearray()

    def receive() -> bytes:
        length, slot = announced.pop(0)
        received.extend(bytes(there.memory(slot)[:length]))
        return bytes((slot,))

    sender = Sender(here, announce=lambda length, slot: announced.append((length, slot)), wait_free=receive)
    for block in blocks:
        sender.send(block)
    sender.flush()
    while announced:
        receive()
    assert bytes(received) == b"".join(blocks)


@given(st.lists(st.integers(1, 3), max_size=40))
def test_sender_reuses_slots_only_when_free(ends: tuple[Slots, Slots], counts: list[int]) -> None:
    """Slots that the receiver has not released keep their content, however many it releases at a time."""
    here, there = ends
    waiting: list[tuple[int, bytes]] = []
    turns = iter(counts)

    def free() -> bytes:
        some, waiting[:] = waiting[: (count := next(turns, 1))], waiting[count:]
        for slot, content in some:
            assert bytes(there.memory(slot)[: len(content)]) == content
        return bytes(slot for slot, _ in some)

    sender = Sender(here, announce=lambda length, slot: waiting.append((slot, sent[-1])), wait_free=free)
    sent: list[bytes] = []
    for number in range(3 * COUNT):
        sent.append(b"%08d" % number)
        sender.send(sent[-1])
        sender.flush()
        assert len({slot for slot, _ in waiting}) == len(waiting) <= COUNT


def test_sender_without_receiver_raises_broken_pipe(ends: tuple[Slots, Slots]) -> None:
    sender = Sender(ends[0], announce=lambda length, slot: None, wait_free=lambda: b"")
    for _ in range(COUNT):
        sender.send(bytes(BLOCK))
    with pytest.raises(BrokenPipeError):
        sender.send(b"x")


def test_sender_collects_small_blocks(ends: tuple[Slots, Slots]) -> None:
    announced: list[int] = []
    sender = Sender(ends[0], announce=lambda length, slot: announced.append(length), wait_free=lambda: b"")
    for _ in range(5):
        sender.send(bytes(BLOCK // 2 - 1))
    assert announced == [3 * (BLOCK // 2 - 1)]
    sender.flush()
    sender.flush()
    assert announced[1:] == [2 * (BLOCK // 2 - 1)]


def test_sender_filled_slot_arrives_unchanged(ends: tuple[Slots, Slots]) -> None:
    here, there = ends
    announced: list[tuple[int, int]] = []
    sender = Sender(
        here, announce=lambda length, slot: announced.append((length, slot)), wait_free=lambda: b""
    )
    for content in (b"first", b"second, longer", b"3"):
        sender.free_slot()[: len(content)] = content
        sender.send_slot(len(content))
    assert [bytes(there.memory(slot)[:length]) for length, slot in announced] == [
        b"first",
        b"second, longer",
        b"3",
    ]


def test_slots_closed_with_open_view_hides_no_error() -> None:
    with pytest.raises(OSError, match="the reason"), closing(Slots()) as slots:
        view = slots.memory(0)
        raise OSError("the reason")
    assert len(view) == SIZE
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(slots.fd)


def test_slots_without_memory_raise_and_leave_no_descriptor() -> None:
    with pytest.raises(ToolError, match="to share with a worker process could not be allocated: .*TMPDIR"):
        Slots(os.open(os.devnull, os.O_RDWR))  # nothing_left_behind finds an open descriptor
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(ToolError, match="Too many open files"):
            Slots()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
