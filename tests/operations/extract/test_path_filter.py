"""Patterns that choose part of a tree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from igny8_backup.operations.extract.path_filter import choose, parse_pattern, select, with_link_targets
from igny8_backup.trees.model.records import Record

COMMON: dict[str, Any] = {
    **dict.fromkeys(("mode", "uid", "gid", "mtime_ns", "ctime_ns", "inode"), 0),
    "user": "",
    "group": "",
}


def record(path: str, kind: Any = "file", *, pack: str = "", target: str = "") -> Record:
    return Record(
        path=path.encode(),
        kind=kind,
        size=10 if kind == "file" else 0,
        pack=pack,
        target=target.encode(),
        **COMMON,
    )


TREE = (
    record("", "dir"),
    record("a", "dir"),
    record("a/images", "dir"),
    record("a/images/deep", "dir"),
    record("a/images/deep/logo.png", pack="one"),
    record("a/images/logo.png", pack="one"),
    record("a/index.html", pack="one"),
    record("a.b", pack="one"),
    record("b", "dir"),
    record("b/again", "hardlink", target="a/index.html"),
    record("b/empty", "dir"),
    record("b/index.html", pack="two"),
    record("b/twin", "hardlink", target="a.b"),
    record("here", "symlink", target="a"),
)


def chosen(*patterns: str, records: Iterable[Record] = TREE) -> tuple[list[str], set[str], int]:
    found = choose([parse_pattern(text) for text in patterns], records)
    found = with_link_targets(found, records)
    paths = [item.path.decode() for item in select(found, records)]
    assert bool(paths) == found.found
    assert found.size == 10 * found.files
    return paths, set(found.packs), found.files


@pytest.mark.parametrize(
    ("patterns", "paths", "packs"),
    [
        (["b/index.html"], ["b", "b/index.html"], {"two"}),
        (["a"], [item.path.decode() for item in TREE[1:7]], {"one"}),
        (["/a/", "./a.?"], [item.path.decode() for item in TREE[1:8]], {"one"}),
        (["*/index.html"], ["a", "a/index.html", "b", "b/index.html"], {"one", "two"}),
        (["*/*.png"], [], set()),
        (["a/**/*.png"], ["a", "a/images", "a/images/deep", "a/images/deep/logo.png", "a/images/logo.png"],
         {"one"}),
        (["**/logo.png"], ["a", "a/images", "a/images/deep", "a/images/deep/logo.png", "a/images/logo.png"],
         {"one"}),
        (["b/**"], ["a", "a/index.html", "a.b", *(item.path.decode() for item in TREE[8:13])],
         {"one", "two"}),
        (["b/[e]*"], ["b", "b/empty"], set()),
        (["b/twin"], ["a.b", "b", "b/twin"], {"one"}),
        (["here"], ["here"], set()),
        (["A", "a/images/logo", "*.html", "b/index.html/x"], [], set()),
    ],
)  # fmt: skip
def test_patterns_match_names_folders_and_link_targets(
    patterns: list[str], paths: list[str], packs: set[str]
) -> None:
    found = chosen(*patterns)
    assert found[:2] == (paths, packs)
    assert found[2] == sum(item.kind == "file" and item.path.decode() in paths for item in TREE)


def test_pattern_matches_names_that_are_not_utf8() -> None:
    odd = Record(path=b"caf\xe9.txt", kind="file", size=10, **COMMON)
    assert [item.path for item in select(choose([parse_pattern("caf?.txt")], [odd]), [odd])] == [odd.path]
    assert chosen("two\nlines", records=[record("two\nlines")])[0] == ["two\nlines"]
