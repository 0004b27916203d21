"""Excluded paths: the same as git ignores, for any names."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from igny8_backup.trees.scan.excludes import CACHE_SIGNATURE, CACHE_TAG, CACHES, MAX_STARS, Excludes, problem
from igny8_backup.trees.scan.scan import Scan
from tests.services import unavailable
from tests.trees.tools import never


def walk(root: Path, *patterns: str, exclude_caches: bool = False) -> tuple[set[bytes], int]:
    """The paths that a scan yields, and the number of excluded ones. The patterns have been pickled."""
    excluded = pickle.loads(pickle.dumps(Excludes(patterns)))
    with closing(Scan(root, on_skip=never, excluded=excluded, exclude_caches=exclude_caches)) as scan:
        return {entry.path for entry in scan.entries() if entry.path}, scan.facts.excluded


def plant(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git work tree with every combination of a few names, three levels deep."""
    if not shutil.which("git"):
        unavailable("git is not installed.")
    root = tmp_path_factory.mktemp("tree")
    subprocess.run(
        ["git", "init", "-q", root], check=True, env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
    )
    names = ("a", "b", "a.t")
    plant(root, *(f"d{x}/d{y}/{z}" for x in names for y in names for z in names))
    plant(root, *names, *(f"d{x}/{y}" for x in names for y in names))
    return root


PART = st.sampled_from(["a", "b", "a.t", "da", "db", "da.t", "*", "*.t", "d*", "?", "**", "[ab]", "d[!b]"])
PATTERN = st.builds(
    lambda negated, first, parts, last: negated + first + "/".join(parts) + last,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "/"]),
    st.lists(PART, min_size=1, max_size=3),
    st.sampled_from(["", "", "/"]),
)


@given(patterns=st.lists(PATTERN.filter(lambda text: not problem(text)), max_size=4))
@example(patterns=["/*", "!/da"])
@example(patterns=["da/**", "!da/a"])
@example(patterns=["*", "!da"])
@settings(max_examples=60, deadline=None)
def test_excludes_any_pattern_agrees_with_git(repository: Path, patterns: list[str]) -> None:
    exclude = repository / ".git" / "info" / "exclude"
    exclude.write_text("\n".join(patterns))
    reported = subprocess.run(
        ["git", "ls-files", "-z", "--others", "--exclude-from=.git/info/exclude"],
        cwd=repository, check=True, capture_output=True,
    ).stdout  # fmt: skip
    found, _ = walk(repository, *patterns, "/.git")
    files = {path for path in found if not (repository / os.fsdecode(path)).is_dir()}
    assert files == set(reported.split(b"\0")) - {b""}


def test_scan_excluded_folder_counts_once(tmp_path: Path) -> None:
    plant(tmp_path, "__pycache__/a", "__pycache__/b", "x/.cache/a", "x/a", "x/a.tmp", ".cache.html")
    asked = []
    excludes = Excludes([*CACHES, "*.tmp"])

    def excluded(path: bytes, is_folder: bool) -> bool:
        asked.append(path)
        return excludes(path, is_folder)

    with closing(Scan(tmp_path, on_skip=never, excluded=excluded)) as scan:
        assert [entry.path for entry in scan.entries()] == [b"", b".cache.html", b"x", b"x/a"]
        assert scan.facts.excluded == 3
    assert b"__pycache__/a" not in asked


def test_excludes_name_not_utf_8_is_matched(tmp_path: Path) -> None:
    for name in (b"\xff.tmp", b"\xff\n.tmp", b"\xe4", b"\xff.html"):
        (tmp_path / os.fsdecode(name)).touch()
    assert walk(tmp_path, "*.tmp", "\udce4") == ({b"\xff.html"}, 3)


def test_scan_vanished_excluded_file_is_not_reported(tmp_path: Path) -> None:
    plant(tmp_path, "a/x", "b.tmp", "c")
    with closing(Scan(tmp_path, on_skip=never, excluded=Excludes(["*.tmp"]))) as scan:
        found = []
        for entry in scan.entries():
            found.append(entry.path)
            if entry.path == b"a":
                (tmp_path / "b.tmp").unlink()
    assert found == [b"", b"a", b"a/x", b"c"]


@pytest.mark.parametrize("tag", [CACHE_SIGNATURE + b"\n# by a test", CACHE_SIGNATURE])
def test_scan_cache_folder_yields_only_the_tag(tmp_path: Path, tag: bytes) -> None:
    plant(tmp_path, "cache/a", "cache/deep/b", "page")
    (tmp_path / "cache" / os.fsdecode(CACHE_TAG)).write_bytes(tag)
    assert walk(tmp_path, exclude_caches=True) == ({b"cache", b"cache/CACHEDIR.TAG", b"page"}, 2)
    assert len(walk(tmp_path)[0]) == 6


@pytest.mark.parametrize("what", ["empty", "other", "fifo", "symlink", "folder", "the root"])
def test_scan_malformed_cache_tag_is_ignored(tmp_path: Path, what: str) -> None:
    plant(tmp_path, "cache/a")
    tag = (tmp_path if what == "the root" else tmp_path / "cache") / os.fsdecode(CACHE_TAG)
    if what in ("empty", "other", "the root"):
        tag.write_bytes({"empty": b"", "other": CACHE_SIGNATURE[:-1], "the root": CACHE_SIGNATURE}[what])
    elif what == "symlink":
        (tmp_path / "real").write_bytes(CACHE_SIGNATURE)
        tag.symlink_to("../real")
    elif what == "folder":
        tag.mkdir()
    else:
        os.mkfifo(tag)
    skipped: list[bytes] = []
    with closing(Scan(tmp_path, on_skip=lambda path, _: skipped.append(path), exclude_caches=True)) as scan:
        assert b"cache/a" in {entry.path for entry in scan.entries()}
        assert scan.facts.excluded == 0
    assert skipped == ([b"cache/CACHEDIR.TAG"] if what == "fifo" else [])


@pytest.mark.parametrize(
    "pattern", ["", " ", "/", "//", "!", "# note", "[", "[z-a]", "a\nb", "a\0b", "a/**/"]
)
def test_problem_malformed_pattern_is_described(pattern: str) -> None:
    assert problem(pattern)
    with pytest.raises(ValueError, match=r"it .*"):
        Excludes([pattern])


def test_problem_too_many_stars_is_described() -> None:
    assert problem("a*" * MAX_STARS) == "" == problem("**/a/**/*.*")
    assert "more than" in problem("a*" * (MAX_STARS + 1))
    assert "more than" in problem("a**" * 3)
