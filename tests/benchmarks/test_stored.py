"""The goals of ``benchmarks.stored``, on a small scale."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import ROOT
from benchmarks.project import base_environment
from benchmarks.stored_goals import most_requests, verdicts


def test_verdicts_compare_each_operation_with_its_goal() -> None:
    assert most_requests(100_000) == 150
    found = {
        "list": {"seconds": 2.0, "CPU seconds": 1.0, "requests": {"list": 100}, "MiB": 150},
        "monitor": {"seconds": 2.0, "CPU seconds": 1.0, "requests": {"list": 100, "open": 51}, "MiB": 150},
        "prune, dry run": {"seconds": 2.0, "CPU seconds": 1.0, "requests": {}, "MiB": 151},
    }
    lines = list(verdicts({"again": found}, 100_000))
    assert [line.split()[-1] for line in lines] == ["met", "MISSED", "MISSED"]
    assert "100 requests (at most 150)" in lines[0] and "2.00 s (at most 3)" in lines[0]


@pytest.mark.slow
def test_stored_measures_each_operation_on_s3(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "benchmarks.stored", "--one", "--s3", "--latency", "0"]
    argv += ["--backups", "4", "--packs", "16", "--folder", str(tmp_path)]
    env = base_environment(tmp_path) | {"DJANGO_DEBUG": "1"}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, end = json.JSONDecoder().raw_decode(done.stdout)
    # Manifest, run, list; packs, index, folders; details.
    assert found["objects"] == 4 * (3 + 2 * (2 + 2) + 1)
    for operation in ("list", "start of a backup", "restore without id", "monitor", "prune, dry run"):
        assert found["first"][operation]["requests"]["GET listing"] > 0
        # What was read before is not read again.
        assert found["again"][operation]["requests"].get("GET object", 0) < 7
    verdicts_shown, _, sizes = done.stdout[end:].strip().partition("{")
    assert len(verdicts_shown.splitlines()) == 10
    assert "bytes of a manifest with 1000 packs" in sizes
    assert list(tmp_path.glob("igny8-stored-*")) == []
