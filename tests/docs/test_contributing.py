"""What CONTRIBUTING.md, the CI workflow and the hooks run is what tox and .ci/run run."""

from __future__ import annotations

import configparser
import re
from itertools import product
from typing import Any

import pytest
import yaml

from tests.docs.pages import ROOT, blocks

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
QUICK = 'python -m pytest -m "not slow and not services"'
LINTERS = ("ruff check", "ruff format --check", "codespell", "mypy", "lint-imports")


def tox_environments() -> set[str]:
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    found = set()
    for name in tox["tox"]["env_list"].split():
        choices = [part.strip("{}").split(",") for part in re.split(r"(\{[^}]*\})", name) if part]
        found |= {"".join(words) for words in product(*choices)}
    return found


def workflow() -> Any:
    return yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))


def test_workflow_matrix_has_every_tox_environment() -> None:
    entries = workflow()["jobs"]["tests"]["strategy"]["matrix"]["include"]
    assert {entry["tox"] for entry in entries} == tox_environments()
    for entry in entries:
        if named := re.match(r"py(\d)(\d+)-", entry["tox"]):
            assert entry["python"] == f"{named[1]}.{named[2]}"


def test_workflow_runs_the_whole_of_ci() -> None:
    assert any(step.get("run") == ".ci/run" for step in workflow()["jobs"]["release"]["steps"])


def test_contributing_sets_up_in_two_commands() -> None:
    first = blocks(CONTRIBUTING, "console")[0]
    assert len(first.splitlines()) == 2


def test_contributing_shows_the_quick_tests() -> None:
    assert QUICK in CONTRIBUTING


@pytest.mark.parametrize("place", [".ci/run", "tox.ini", "CONTRIBUTING.md"])
@pytest.mark.parametrize("linter", LINTERS)
def test_linters_are_the_same_everywhere(place: str, linter: str) -> None:
    assert linter in (ROOT / place).read_text(encoding="utf-8")


def test_hooks_run_local_programs_only() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repository["repo"] for repository in hooks["repos"]] == ["local"]
    entries = [hook["entry"].split()[0] for hook in hooks["repos"][0]["hooks"]]
    assert set(entries) == {linter.split()[0] for linter in LINTERS}


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_github_files_can_be_read(path: Any) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))
