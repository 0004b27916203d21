"""Generate files as in published sites: HTML, CSS, JS and JSON that compress as usual, and images that do
not.

The bytes depend only on the seed. A list next to the tree, in the format of ``sha256sum``, has their digests.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from benchmarks.measure import say
from benchmarks.options import FULL, QUICK
from benchmarks.texts import Prose, generator

VERSION = 2
FILES = {QUICK: 1200, FULL: 120_000}
_FILES_A_SITE = 300
_MTIME = 1_760_000_000
_PICTURE = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"

Maker = Callable[[Prose, random.Random, bytes], bytes]


def _html(prose: Prose, choose: random.Random, site: bytes) -> bytes:
    links = b"".join(
        b'      <li class="nav-item"><a class="nav-link" href="/%b/%b/">%b</a></li>\n'
        % (word, site, word.title())
        for word in prose.words(generator(site, "menu"), 14)
    )
    words = prose.words(choose, _size(choose, 900))
    body = b"".join(
        b'      <p class="text-block">%b</p>\n'
        b'      <img src="/assets/img/%08x.jpg" alt="%b" loading="lazy">\n'
        % (b" ".join(words[start : start + 80]), choose.getrandbits(32), words[start])
        for start in range(0, len(words), 80)
    )
    title = prose.text(choose, 6)
    return (
        b'<!doctype html>\n<html lang="en">\n<head>\n  <meta charset="utf-8">\n  <title>%b | %b</title>\n'
        b'  <meta name="viewport" content="width=device-width, initial-scale=1">\n'
        b'  <link rel="stylesheet" href="/assets/css/main.css">\n'
        b'  <link rel="canonical" href="https://%b.example/">\n</head>\n'
        b"<body>\n  <nav>\n    <ul>\n%b    </ul>\n"
        b"  </nav>\n  <main>\n    <article>\n      <h1>%b</h1>\n%b    </article>\n  </main>\n"
        b'  <script src="/assets/js/main.js" defer></script>\n</body>\n</html>\n'
    ) % (title, site, site, links, title, body)


def _css(prose: Prose, choose: random.Random, site: bytes) -> bytes:
    words = prose.words(choose, _size(choose, 165))
    return b"".join(
        b".%b {\n  margin: %dpx %dpx;\n  color: #%06x;\n  font-size: %d.%drem;\n}\n"
        % (word.strip(b",."), number % 40, number % 7, choose.getrandbits(24), number % 3, number % 10)
        for number, word in enumerate(words)
    )


def _js(prose: Prose, choose: random.Random, site: bytes) -> bytes:
    words = [word.strip(b",.") for word in prose.words(choose, _size(choose, 350))]
    return b"".join(
        b"export function %b(%b, %b) {\n  const %b = %b.get(%d);\n  return %b ? %b : null;\n}\n"
        % (a, b, c, a[::-1], b, number * 7919 % 10007, c, b)
        for number, (a, b, c) in enumerate(zip(words[::3], words[1::3], words[2::3], strict=False))
    )


def _json(prose: Prose, choose: random.Random, site: bytes) -> bytes:
    words = prose.words(choose, _size(choose, 650))
    items = (
        b'  {"id": %d, "slug": "%b", "score": %d, "key": "%016x", "text": "%b"}'
        % (
            start,
            words[start],
            start * 31 % 997,
            choose.getrandbits(64),
            b" ".join(words[start : start + 12]),
        )
        for start in range(0, len(words), 12)
    )
    return b"[\n" + b",\n".join(items) + b"\n]\n"


def _picture(prose: Prose, choose: random.Random, site: bytes) -> bytes:
    return _PICTURE + choose.randbytes(_size(choose, 51_500))


# Of a hundred files; the pictures are a fifth of the files and half of the bytes.
_KINDS: tuple[tuple[int, str, Maker], ...] = (
    (52, "pages/{section}/{name}.html", _html),
    (6, "assets/css/{name}.css", _css),
    (8, "assets/js/{name}.js", _js),
    (14, "data/{name}.json", _json),
    (20, "assets/img/{name}.jpg", _picture),
)
_BY_HUNDRED = [(pattern, maker) for count, pattern, maker in _KINDS for _ in range(count)]


def make(work: Path, scale: str) -> tuple[Path, Path]:
    """Return the tree of a scale and the list of its digests; create them if needed."""
    root, listing = work / f"sites-{scale}-{VERSION}", work / f"sites-{scale}-{VERSION}.sha256"
    if listing.is_file():
        return root, listing
    say(f"making {FILES[scale]} files ...")
    shutil.rmtree(root, ignore_errors=True)
    prose = Prose()
    with (work / "sites.new").open("w") as lines:
        for number in range(FILES[scale]):
            name = name_of(number, number // _FILES_A_SITE)
            path, content = root / name, content_of(name, prose)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            os.utime(path, (_MTIME + number, _MTIME + number))
            lines.write(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    (work / "sites.new").rename(listing)
    return root, listing


def name_of(number: int, site: int) -> str:
    """Return the path of the file with this number."""
    pattern, _ = _BY_HUNDRED[number * 37 % 100]
    inside = pattern.format(name=f"{number:06}", section=number // 20)
    return f"tenant-{site:05}/www.tenant-{site:05}.example/{inside}"


def content_of(name: str, prose: Prose, *edition: int) -> bytes:
    """Return the content of a file; each edition differs and is of the same kind."""
    number = int(PurePosixPath(name).stem)
    _, maker = _BY_HUNDRED[number * 37 % 100]
    return maker(prose, generator("file", number, *edition), name.partition("/")[0].encode())


def _size(choose: random.Random, mean: int) -> int:
    """Return the size of a file: most are small, some large."""
    return min(int(choose.lognormvariate(0, 0.7) * mean * 0.78) + 1, 20 * mean)
