"""Contents that are looked up by size and digest."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from igny8_backup.errors import IntegrityError
from igny8_backup.streams import BLOCK
from igny8_backup.trees.index.contents import SMALLEST, KnownContents
from igny8_backup.trees.index.lines import Stored
from igny8_backup.trees.model.records import Record
from tests.trees.index.test_index import FILE, ROOT, written

SIZE = SMALLEST + 5


def digest(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


def record(number: int, path: bytes, size: int = SIZE, pack: str = "1") -> Record:
    return FILE._replace(path=path, size=size, sha256=digest(number), pack=pack)


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        yield file


def known(file: IO[bytes], records: list[Record], packs_to_rewrite: tuple[str, ...] = ()) -> KnownContents:
    file.write(written([ROOT, *records]))
    file.flush()
    return KnownContents(file.fileno(), packs_to_rewrite)


def test_known_contents_are_found_by_size_and_digest(file: IO[bytes]) -> None:
    long_path = b"/".join([b"x" * 250] * 300)
    many = [record(number, b"%06d" % number, SIZE + number) for number in range(20_000)]
    contents = known(
        file,
        [
            *many,
            record(-1, b"a")._replace(racy=True),
            record(-2, b"b")._replace(member=b'old \\ "name" \xff', xattrs=(("user.x", b"y"),)),
            record(-3, long_path),
            record(-5, b"large", 2 * BLOCK),
        ],
    )
    assert contents.find(SIZE, digest(-1)) == Stored(digest(-1), "1", b"a")
    assert contents.find(SIZE, digest(-2)) == Stored(digest(-2), "1", b'old \\ "name" \xff')
    assert contents.find(SIZE, digest(-3)) == Stored(digest(-3), "1", long_path)
    for number in range(20_000):
        assert contents.find(SIZE + number, digest(number)) == Stored(digest(number), "1", b"%06d" % number)
    assert contents.find(SIZE + 1, digest(-1)) is None
    assert contents.find(SIZE, digest(-4)) is None
    assert contents.may_hold(SIZE) and contents.may_hold(2 * BLOCK)
    assert not contents.may_hold(3 * BLOCK) and not contents.may_hold(SMALLEST - 1)


def test_known_contents_leave_out_small_files_and_rewritten_packs(file: IO[bytes]) -> None:
    contents = known(
        file,
        [
            record(1, b"1", SMALLEST - 1),
            record(2, b"2", SMALLEST),
            record(3, b"3", pack="2"),
            record(4, b"4", pack="2"),
            record(4, b"5"),
            record(4, b"6"),
        ],
        packs_to_rewrite=("2",),
    )
    assert contents.find(SMALLEST - 1, digest(1)) is None
    assert contents.find(SMALLEST, digest(2)) == Stored(digest(2), "1", b"2")
    assert contents.find(SIZE, digest(3)) is None
    assert contents.find(SIZE, digest(4)) == Stored(digest(4), "1", b"5")


def test_known_contents_of_chosen_digests_are_spread_over_the_table(file: IO[bytes]) -> None:
    """A user can choose the first digits of digests. One large bucket would take hours to fill."""
    chosen = [
        record(number, b"%06d" % number)._replace(sha256="abc0" + digest(number)[4:])
        for number in range(20_000)
    ]
    contents = known(file, chosen)
    assert contents.find(SIZE, chosen[-1].sha256) == Stored(chosen[-1].sha256, "1", chosen[-1].path)
    assert max(map(len, contents._buckets.values())) < 20_000


def test_known_contents_index_that_changes_raises(tmp_path: Path, file: IO[bytes]) -> None:
    contents = known(file, [record(1, b"1")])
    assert contents.find(SIZE, digest(1))
    file.truncate(0)
    with pytest.raises(IntegrityError, match="file without a digest"):
        contents.find(SIZE, digest(1))
