"""Writer and reader together: every complete index gives back its archive, byte for byte."""

from __future__ import annotations

import hashlib
import random
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igny8_backup.chunks.locations import PACK_BYTES
from igny8_backup.chunks.runs import Index, Runs, read_index, to_blocks
from igny8_backup.chunks.writer import PACKS_LIMIT, WINDOW
from igny8_backup.errors import IntegrityError
from tests.chunks.archives import Packs, in_blocks, noise

pytestmark = pytest.mark.usefixtures("compiled")


def test_first_archive_needs_packs_of_the_limit_only() -> None:
    archive, packs = noise(20 << 20), Packs()
    index = packs.write(archive, "a")
    assert packs.read(index) == archive
    assert sum(packs.sizes.values()) == len(archive)
    assert max(packs.sizes.values()) <= PACK_BYTES
    assert len(index.runs) == len(packs.stored) == 3
    assert packs.decoded == ["a-0001", "a-0002", "a-0003"]


@pytest.mark.parametrize("behind", [1, 2, 3])
def test_packs_stored_behind_the_reader_are_those_that_were_filled(behind: int) -> None:
    """While a pack is stored, the next one is filled: never in the memory of the first."""
    archive, packs = noise(60 << 20), Packs(behind=behind, slow=lambda: time.sleep(0.02))
    index = packs.write(archive, "a")
    assert packs.read(index) == archive
    assert sum(packs.sizes.values()) == len(archive)


@pytest.mark.parametrize("behind", [0, 1, 2])
def test_pack_that_cannot_be_stored_ends_the_archive(behind: int) -> None:
    def fail() -> None:
        raise ValueError("the storage is full")

    packs = Packs(behind=behind, slow=fail)
    with pytest.raises(ValueError, match="the storage is full"):
        packs.write(noise(40 << 20), "a")
    assert not packs.stored


def test_unchanged_archive_stores_nothing() -> None:
    archive, packs = noise(5 << 20), Packs()
    packs.write(archive, "a")
    index = packs.write(archive, "b")
    assert packs.read(index) == archive
    assert list(packs.stored) == ["a-0001"]
    assert list(index.runs) == [(0, 0, len(archive))]


def test_zeros_are_stored_and_decoded_once() -> None:
    """A sparse file can have gigabytes of them: a pack for each 8 MiB would be thousands of objects."""
    archive, packs = noise(1 << 20) + bytes(60 << 20) + noise(1 << 20, seed=2), Packs()
    index = packs.write(archive, "a")
    assert packs.read(index, kept_bytes=4 << 20) == archive
    assert sum(packs.sizes.values()) < 3 << 20
    assert packs.decoded == ["a-0001"]
    assert max(map(len, packs_by_window(index).values())) == 1


def test_zeros_of_an_earlier_archive_are_decoded_once() -> None:
    packs = Packs()
    packs.write(bytes(1 << 20), "a")
    archive = noise(1 << 20) + bytes(20 << 20) + noise(1 << 20, seed=2) + bytes(20 << 20)
    index = packs.write(archive, "b")
    assert packs.read(index, kept_bytes=4 << 20) == archive
    assert sorted(packs.decoded) == ["a-0001", "b-0001"]


def test_empty_archive_has_no_packs() -> None:
    packs = Packs()
    index = packs.write(b"", "a")
    assert packs.read(index) == b""
    assert packs.stored == {}


def test_scattered_archive_keeps_to_the_limit_of_packs() -> None:
    """Chunks of one window that lie in many packs are stored again, the smallest references first."""
    packs, pieces = Packs(), [noise(40_000 * (2 + number % 3), seed=number) for number in range(90)]
    for number, piece in enumerate(pieces):
        packs.write(piece, f"old{number}")
    archive = b"".join(pieces)
    index = packs.write(archive, "new")
    assert packs.read(index) == archive
    assert max(map(len, packs_by_window(index).values())) <= PACKS_LIMIT
    kept = {key for key in index.header.packs if key.startswith("old")}
    assert len(kept) > PACKS_LIMIT / 2
    assert min(packs.sizes[key] for key in kept) >= 40_000 * 4


def packs_by_window(index: Index) -> dict[int, set[int]]:
    """Return the packs that hold what begins in each window of the archive."""
    found: defaultdict[int, set[int]] = defaultdict(set)
    position = 0
    for pack, _, length in index.runs:
        for window in range(position // WINDOW, (position + length - 1) // WINDOW + 1):
            found[window].add(pack)
        position += length
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 32).map(random.Random), st.integers(0, 3_000_000))
def test_reader_with_any_limit_gives_the_archive(chance: random.Random, kept_bytes: int) -> None:
    contents = {f"pack-{number}": noise(400_000, seed=number) for number in range(4)}
    packs, runs, archive = Packs(stored=contents), Runs(), b""
    for _ in range(chance.randrange(60)):
        pack, offset = chance.randrange(4), chance.randrange(399_000)
        length = chance.randrange(1, min(90_000, 400_000 - offset))
        runs.add(pack, offset, length)
        archive += contents[f"pack-{pack}"][offset : offset + length]
    header = replace(
        Packs().write(b"", "x").header,
        bytes=len(archive),
        sha256=hashlib.sha256(archive).hexdigest(),
        packs=tuple(contents),
        runs=len(runs),
    )
    index = Index(header, runs)
    assert packs.read(index, kept_bytes=kept_bytes) == archive
    if kept_bytes >= len(archive):
        assert len(packs.decoded) == len(set(packs.decoded))


def test_what_is_needed_last_is_dropped_first() -> None:
    packs = Packs(stored={"a": noise(300, 1), "b": noise(300, 2)})
    runs = Runs()
    for run in [(0, 0, 100), (0, 200, 50), (1, 0, 100), (0, 100, 100)]:
        runs.add(*run)
    a, b = packs.stored.values()
    archive = a[:100] + a[200:250] + b[:100] + a[100:200]
    sha256 = hashlib.sha256(archive).hexdigest()
    header = replace(Packs().write(b"", "x").header, bytes=350, sha256=sha256, packs=("a", "b"), runs=4)
    assert packs.read(Index(header, runs), kept_bytes=149) == archive
    assert packs.decoded == ["a", "b", "a"]


@pytest.mark.parametrize("change", ["shorter", "longer", "other"])
def test_wrong_pack_is_an_integrity_error(change: str) -> None:
    packs = Packs()
    index = packs.write(noise(500_000), "a")
    sizes, content = packs.sizes, packs.stored["a-0001"]
    packs.stored["a-0001"] = {
        "shorter": content[:-1],
        "longer": content + b"x",
        "other": content[:1000] + bytes([content[1000] ^ 1]) + content[1001:],
    }[change]
    with pytest.raises(IntegrityError, match="SHA-256" if change == "other" else "a-0001 has ") as failure:
        WithSizes(packs.stored, given=sizes).read(index)
    assert failure.value.object_key == ("" if change == "other" else "a-0001")


@dataclass
class WithSizes(Packs):
    """Packs whose sizes are those that the manifest names, not those of the stored packs."""

    given: dict[str, int] | None = None

    @property
    def sizes(self) -> dict[str, int]:
        return self.given or {}


class History:
    """A database that changes, and its dumps. ``indexes`` are the stored indexes of all dumps."""

    EDITS: ClassVar = ("insert", "delete", "update", "move", "reload", "append")

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.rows = [self.row() for _ in range(chance.randrange(40))]
        self.packs = Packs()
        self.dumps: list[tuple[bytes, bytes, set[str]]] = []

    def row(self) -> bytes:
        return self.chance.randbytes(self.chance.randrange(1, 20_000))

    def edit(self, kind: str) -> None:
        at = self.chance.randrange(len(self.rows) + 1)
        if kind == "insert":
            self.rows.insert(at, self.row())
        elif kind == "append":
            self.rows += [self.row() for _ in range(5)]
        elif kind == "reload":
            self.rows = [*self.rows]
        elif self.rows:
            old = self.rows.pop(at % len(self.rows))
            if kind == "update":
                self.rows.insert(at, old[: len(old) // 2] + b"!" + old[len(old) // 2 :])
            elif kind == "move":
                self.rows.append(old)

    def dump(self, *, full: bool) -> None:
        archive = b"".join(self.rows)
        index = self.packs.write(archive, f"run{len(self.dumps)}", refer=not full)
        self.dumps.append((b"".join(to_blocks(index)), archive, set(index.header.packs)))

    def lose(self) -> None:
        """Lose a pack, and forget the chunks in it, as a run does that finds it missing."""
        if self.packs.stored:
            lost = self.chance.choice(sorted(self.packs.stored))
            del self.packs.stored[lost]
            known = self.packs.known.items()
            self.packs.known = {digest: place for digest, place in known if place.pack != lost}

    def prune(self) -> None:
        """Remove a dump and the packs that no other dump needs."""
        if self.dumps:
            self.dumps.pop(self.chance.randrange(len(self.dumps)))
            needed = set().union(*(packs for *_, packs in self.dumps))
            known = self.packs.known.items()
            self.packs.stored = {key: data for key, data in self.packs.stored.items() if key in needed}
            self.packs.known = {digest: place for digest, place in known if place.pack in needed}
            self.dumps.append((b"", b"", {"gone"}))  # no run writes under the same id again


STEPS = st.lists(
    st.sampled_from([*History.EDITS * 2, "full", "next", "next", "next", "lose", "prune"]), max_size=40
)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32).map(random.Random), STEPS)
def test_every_complete_index_gives_back_its_archive(chance: random.Random, steps: list[str]) -> None:
    history = History(chance)
    for step in [*steps, "next"]:
        if step in ("full", "next"):
            history.dump(full=step == "full")
        elif step in ("lose", "prune"):
            getattr(history, step)()
        else:
            history.edit(step)
    read = 0
    for stored, archive, needed in history.dumps:
        if needed <= history.packs.stored.keys():
            index = read_index(in_blocks(stored, []), "index", history.packs.sizes)
            assert history.packs.read(index, kept_bytes=100_000) == archive
            read += 1
    assert read >= 1  # the last dump refers to no lost pack
