"""Reading a file while another process still writes it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from igny8_backup.errors import FilesError
from igny8_backup.streams.follow import PIECE, GrowingFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "index"
    path.touch()
    return path


def test_growing_file_yields_content_before_completion(path: Path) -> None:
    growing = GrowingFile(path)
    blocks = growing.blocks()
    with open(path, "ab", buffering=0) as file:
        file.write(b"first")
        assert next(blocks) == b"first"
        file.write(bytes(PIECE + 1))
        assert [len(next(blocks)), len(next(blocks))] == [PIECE, 1]
        file.write(b"last")
        growing.complete()
    assert list(blocks) == [b"last"]


def test_growing_file_at_end_of_file_waits_for_more(path: Path) -> None:
    growing = GrowingFile(path)
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.extend(growing.blocks()))
    thread.start()
    with open(path, "ab", buffering=0) as file:
        for number in range(3):
            thread.join(0.15)  # longer than the polling interval
            assert thread.is_alive()
            file.write(b"%d" % number)
    growing.complete()
    thread.join()
    assert b"".join(found) == b"012"


def test_growing_file_without_polling_yields_all_at_completion(path: Path) -> None:
    growing = GrowingFile(path, look=None)
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.extend(growing.blocks()))
    thread.start()
    path.write_bytes(b"all of it")
    thread.join(0.3)
    assert thread.is_alive() and found == []
    growing.complete()
    thread.join()
    assert found == [b"all of it"]


def test_growing_file_given_up_raises(path: Path) -> None:
    path.write_bytes(b"half")
    growing = GrowingFile(path)
    blocks = growing.blocks()
    assert next(blocks) == b"half"
    growing.give_up()
    with pytest.raises(FilesError, match="index was not written to its end"):
        next(blocks)


def test_growing_file_given_up_reads_no_more(path: Path) -> None:
    path.write_bytes(bytes(3 * PIECE))
    growing = GrowingFile(path)
    blocks = growing.blocks()
    assert next(blocks)
    growing.give_up()
    with pytest.raises(FilesError, match="index was not written to its end"):
        next(blocks)


def test_growing_file_given_up_after_completion_ends_normally(path: Path) -> None:
    growing = GrowingFile(path)
    growing.complete()
    growing.give_up()
    assert list(growing.blocks()) == []
