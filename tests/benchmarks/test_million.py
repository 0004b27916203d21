"""The data of ``benchmarks.million``, on a small scale."""

from __future__ import annotations

import statistics
import zlib
from pathlib import Path

from benchmarks.million_data import LONGEST, SHORTEST, contents, make
from benchmarks.sites_checks import FilesCheck

COUNT = 600


def test_tree_matches_its_list_and_is_created_once(tmp_path: Path) -> None:
    left = tmp_path / f"many-{COUNT}" / "site-0000" / "of a run that was killed"
    left.parent.mkdir(parents=True)
    left.touch()
    root, listing = make(tmp_path, COUNT, settled=0)
    files = FilesCheck(listing)
    assert len(files.wanted) == COUNT == len(set(files.wanted.values()))
    files.check_folder(root)
    inode = listing.stat().st_ino
    assert make(tmp_path, COUNT, settled=0) == (root, listing)
    assert listing.stat().st_ino == inode


def test_files_average_8_kib_and_do_not_compress() -> None:
    found = list(contents(COUNT))
    assert found == list(contents(COUNT))
    sizes = [len(content) for content in found]
    assert SHORTEST <= min(sizes) < 3 << 10 and LONGEST - (1 << 10) < max(sizes) < LONGEST + 40
    assert abs(statistics.mean(sizes) - (8 << 10)) < 500
    assert len(zlib.compress(b"".join(found))) > 0.98 * sum(sizes)
