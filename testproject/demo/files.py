"""Generate the files of published sites and uploads. They depend only on the seed.

Beside ordinary pages there is what a backup may stumble over: names outside ASCII and outside UTF-8, blanks,
a leading dash, a line end; an empty folder and an empty file; links, hard, symbolic and dangling; modes.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.words import generator, text

IMAGE = b"\x89PNG\r\n\x1a\n"
TIME = 1_790_000_000 * 10**9  # nanoseconds since the epoch, in September 2026
ODD_NAMES = (
    b"\xc3\xbcbersicht \xe2\x82\xac.html",  # "übersicht €.html"
    "日本語のページ.html".encode(),
    "party-🎉.css".encode(),
    b"cafe\xcc\x81.txt",  # an accent of its own: not the same bytes as "café"
    b"caf\xe9-latin-1.txt",  # no UTF-8 at all
    b"-rf.txt",
    b" blanks around .txt ",
    b"two\nlines.txt",
    b'quote\'s "and" back\\slash.txt',
    b"x" * 200 + b".txt",
)


@dataclass(frozen=True)
class Written:
    """The number of names of regular files that were written, and their bytes."""

    files: int
    size: int


def write(
    sites: Path, uploads: Path, folders: Sequence[str], *, files: int = 5_000, seed: int = 8
) -> Written:
    """Write at least that many files: the site of each folder below ``sites``, and the uploads."""
    for root in (sites, uploads):
        root.mkdir(parents=True, exist_ok=True)
    pages = max(4, -(-files // len(folders)))
    for number, folder in enumerate(folders):
        _site(sites / folder, pages, generator(seed, "files", number))
    _odd(sites / folders[0] / "odd", generator(seed, "odd"))
    _uploads(uploads, files, generator(seed, "uploads"))
    for root in (sites, uploads):
        _date(root)
    sizes = [path.lstat().st_size for root in (sites, uploads) for path in _regular(root)]
    return Written(len(sizes), sum(sizes))


def _site(folder: Path, count: int, choose: random.Random) -> None:
    """Write ``count`` files: pages, some images, style sheets and files of a generator."""
    for part in ("", "assets", "blog"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(_page("index", choose), encoding="utf-8", newline="")
    (folder / "assets/site.css").write_text(
        "body { margin: 0 auto; max-width: 70ch }\n" * choose.randint(5, 90)
    )
    (folder / "site.json").write_text(f'{{"build": "{choose.getrandbits(64):x}", "pages": {count}}}\n')
    for number in range(count - 3):
        if number % 3 == 2:
            # Mostly small, at times large: as images are.
            size = int(min(400_000, choose.lognormvariate(9.2, 1.0)))
            (folder / f"assets/image-{number:04}.png").write_bytes(IMAGE + choose.randbytes(size))
        else:
            page = _page(f"article {number}", choose)
            (folder / f"blog/article-{number:04}.html").write_text(page, encoding="utf-8", newline="")


def _page(title: str, choose: random.Random) -> str:
    body = text(choose, choose.randint(1, 8))
    return f"<!doctype html>\n<meta charset=utf-8>\n<title>{title}</title>\n<main>{body}</main>\n"


def _odd(folder: Path, choose: random.Random) -> None:
    """Write unusual but legal files and names."""
    folder.mkdir()
    for name in ODD_NAMES:
        try:
            (folder / os.fsdecode(name)).write_bytes(b"named " + name + choose.randbytes(40))
        except OSError:
            continue  # a filesystem that takes no such name (macOS and bytes that are no UTF-8)
    (folder / "empty folder").mkdir()
    (folder / "empty file").touch()
    (folder / "private").write_text("for the owner only\n")
    (folder / "private").chmod(0o600)
    (folder / "run.sh").write_text("#!/bin/sh\nexit 0\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "read-only").write_text("not to be changed\n")
    (folder / "read-only").chmod(0o444)
    (folder / "latest").symlink_to("../blog")
    (folder / "latest.html").symlink_to("../index.html")
    (folder / "dangling").symlink_to("no such file, ever")
    os.link(folder / "run.sh", folder / "run-hard-link.sh")
    os.link(folder / "private", folder.parent / "private-hard-link")
    (folder / "shared").mkdir()
    (folder / "shared").chmod(0o775)


def _uploads(root: Path, files: int, choose: random.Random) -> None:
    """Write photos by month, a film of about 100 times their size, and a table that compresses well."""
    for month in range(1, 7):
        folder = root / f"2026/{month:02}"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1 + files // 250):
            (folder / f"photo {number} ü.jpg").write_bytes(choose.randbytes(choose.randint(500, 90_000)))
    (root / "2026/film.mp4").write_bytes(choose.randbytes(files * 1_000))
    lines = "17;Übersicht;4096\n" * (files * 40)
    (root / "2026/export.csv").write_text(f"id;title;visits\n{lines}", encoding="utf-8")


def _date(root: Path) -> None:
    """Set distinct times to the nanosecond; a folder after its content."""
    for folder, _, names in os.walk(root, topdown=False):
        for name in (*names, "."):
            path = os.path.join(folder, name)
            digest = hashlib.sha256(os.fsencode(os.path.relpath(path, root))).digest()
            time = TIME + int.from_bytes(digest[:7]) % (30 * 24 * 3600 * 10**9)
            os.utime(path, ns=(time, time), follow_symlinks=name == ".")


def _regular(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        yield from (path for name in names if not (path := Path(folder, name)).is_symlink())
