"""The measurements of the benchmarks are correct."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest

from benchmarks.contest import Contestant, Results, Run, Target, hold
from benchmarks.measure import Argv, Measured, RunFailed, measure
from benchmarks.sites_checks import FilesCheck

MIB = 2**20


def python(source: str) -> Argv:
    return (sys.executable, "-I", "-c", source)


def test_watch_counts_memory_of_each_process(tmp_path: Path) -> None:
    child = "x = b'x' * (200 << 20); import time; time.sleep(0.3)"
    source = f"import subprocess, sys; subprocess.run([sys.executable, '-I', '-c', {child!r}], check=True)"
    found = measure([python(source)], env=dict(os.environ), cwd=tmp_path)
    assert found.peak < 100 * MIB
    assert found.child_peak > 200 * MIB
    assert found.wall > 0.3


def test_watch_adds_up_the_memory_of_all_processes_without_clean_files(tmp_path: Path) -> None:
    (tmp_path / "clean").write_bytes(b"x" * (100 * MIB))
    with (tmp_path / "modified").open("wb") as file:
        file.truncate(40 * MIB)
    source = (
        "import mmap, subprocess, sys, time\n"
        "shared = mmap.mmap(-1, 60 << 20)\n"  # of both processes
        "shared.write(b's' * len(shared))\n"
        "with open('clean', 'rb') as file:\n"
        "    clean = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)\n"
        "clean.find(b'y')\n"
        "with open('modified', 'r+b') as file:\n"
        "    modified = mmap.mmap(file.fileno(), 0)\n"
        "modified.write(b'm' * len(modified))\n"
        "child = 'import time; own = b\"o\" * (30 << 20); time.sleep(0.6)'\n"
        "subprocess.run([sys.executable, '-I', '-c', child], check=True)\n"
    )
    found = measure([python(source)], env=dict(os.environ), cwd=tmp_path)
    assert 130 * MIB < found.memory < 170 * MIB
    assert found.memory == sum(found.memory_by.values())
    assert found.peak > 200 * MIB  # the clean file as well


def test_watch_counts_memory_of_a_program_by_its_module(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "worker.py").write_text("import time; own = b'o' * (30 << 20); time.sleep(0.4)")
    found = measure([(sys.executable, "-m", "package.worker")], env=dict(os.environ), cwd=tmp_path)
    assert found.memory_by["worker"] > 30 * MIB


def test_watch_counts_scratch_files_without_a_name(tmp_path: Path) -> None:
    source = (
        "import tempfile, time\n"
        "with tempfile.TemporaryFile() as nameless, tempfile.NamedTemporaryFile() as named:\n"
        "    nameless.write(b'x' * 3_000_000); nameless.flush()\n"
        "    named.write(b'x' * 2_000_000); named.flush()\n"
        "    time.sleep(0.6)\n"
    )
    found = measure([python(source)], env=dict(os.environ), cwd=tmp_path)
    assert 5_000_000 <= found.scratch < 5_100_000
    assert not list(tmp_path.iterdir())


def test_run_failure_anywhere_in_a_pipe_raises(tmp_path: Path) -> None:
    failing = python("import sys; print('some'); sys.exit('out of rows')")
    with pytest.raises(RunFailed, match="out of rows"):
        measure([failing, ("cat",)], env=dict(os.environ), cwd=tmp_path, output=tmp_path / "out")


def test_contest_alternates_and_stops_at_a_failed_check(tmp_path: Path) -> None:
    seen: list[str] = []

    def contestant(name: str, runs: int | None = None) -> Contestant:
        return Contestant(
            key=name,
            title=name,
            commands=lambda: [("true",)],
            env=dict(os.environ),
            cwd=tmp_path,
            prepare=lambda: seen.append(f"prepare {name}"),
            check=lambda: seen.append(f"check {name}"),
            runs=runs,
        )

    results = hold("both", [contestant("a"), contestant("b", runs=1)], 2)
    assert seen == ["prepare a", "check a", "prepare b", "check b", "prepare a", "check a"]
    assert {key: len(runs) for key, runs in results.runs.items()} == {"a": 2, "b": 1}

    def wrong() -> None:
        raise RunFailed("not what was written")

    broken = Contestant(
        key="c", title="c", commands=lambda: [("true",)], env=dict(os.environ), cwd=tmp_path, check=wrong
    )
    with pytest.raises(RunFailed, match="not what was written"):
        hold("one", [broken], 1)


def test_report_ratio_is_the_median_of_pairs() -> None:
    def run(number: int, wall: float) -> Run:
        measured = Measured(
            wall=wall, cpu=0, machine=0, memory=0, memory_by={}, peak=0, child="", child_peak=0, scratch=0
        )
        return Run(round=number, measured=measured, stored=int(wall * 10))

    results = Results(title="drift", contestants=[])
    results.runs["ours"] = [run(1, 1), run(2, 20), run(3, 3)]
    results.runs["theirs"] = [run(1, 2), run(2, 40), run(3, 3)]
    assert results.ratio(Target(ours="ours", against="theirs", what="wall", limit=1)) == 0.5
    assert results.ratio(Target(ours="ours", against="theirs", what="stored", limit=1)) == 0.5
    assert results.ratio(Target(ours="ours", against="nobody", what="wall", limit=1)) is None


def test_check_notices_one_altered_byte(tmp_path: Path) -> None:
    tree, listing = tmp_path / "tree", tmp_path / "listing"
    (tree / "folder").mkdir(parents=True)
    (tree / "folder" / "a").write_bytes(b"one")
    (tree / "b").write_bytes(b"two")
    lines = [
        f"{hashlib.sha256(data).hexdigest()}  {name}\n"
        for name, data in (("folder/a", b"one"), ("b", b"two"))
    ]
    listing.write_text("".join(lines))
    check = FilesCheck(listing)
    check.check_folder(tree)
    pipeline: list[Argv] = [("tar", "-C", tree, "-cf", "-", "."), ("cat",)]
    check.check_tars([pipeline], os.environ)
    (tree / "b").write_bytes(b"twO")
    with pytest.raises(RunFailed, match="1 files differ"):
        check.check_folder(tree)
    with pytest.raises(RunFailed, match="1 files differ"):
        check.check_tars([pipeline], os.environ)
    (tree / "b").unlink()
    with pytest.raises(RunFailed, match="1 files differ"):
        check.check_tars([pipeline], os.environ)
