"""Generate trees of very many files with sizes as in published sites and bytes that do not compress.

The bytes depend only on the seed. A list next to the tree, in the format of ``sha256sum``, has their digests.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import say
from benchmarks.sites_changes import SETTLED
from benchmarks.texts import generator

SHORTEST, LONGEST = 2 << 10, 14 << 10
"""Limits for the size of a file in bytes; the average is 8 KiB."""
_FILES_A_FOLDER = 500


def make(work: Path, count: int, settled: float = SETTLED) -> tuple[Path, Path]:
    """Return a tree of that many files and the list of their digests; create them if needed."""
    root, listing = work / f"many-{count}", work / f"many-{count}.sha256"
    if listing.is_file():
        return root, listing
    say(f"making {count} files ...")
    shutil.rmtree(root, ignore_errors=True)
    with (work / "many.new").open("w") as lines:
        for number, content in enumerate(contents(count)):
            folder = f"site-{number // _FILES_A_FOLDER:04}"
            if number % _FILES_A_FOLDER == 0:
                (root / folder).mkdir(parents=True)
            name = f"{folder}/page-{number:07}.html"
            with open(f"{root}/{name}", "wb") as file:
                file.write(content)
            lines.write(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    time.sleep(settled)
    (work / "many.new").rename(listing)
    return root, listing


def contents(count: int) -> Iterator[bytes]:
    """Yield the content of each file."""
    choose = generator("many files")
    for number in range(count):
        yield b"<!-- page %d -->\n" % number + choose.randbytes(choose.randrange(SHORTEST, LONGEST + 1))
