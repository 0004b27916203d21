"""The README, the changelog and all links name things that exist. `.ci/run` builds the pages."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from django.core.management import get_commands

from igny8_backup import __version__
from tests.docs.pages import DOCS, ROOT, blocks, page

README = (ROOT / "README.md").read_text(encoding="utf-8")
WORDS = 1250
PAGES = [*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"]


def test_readme_commands_install_and_run_in_one_line() -> None:
    lines = [text.removeprefix("$ ").strip() for text in blocks(README, "console")]
    (demo,) = [line for line in lines if line.endswith("manage.py demo")]
    (tests,) = [line for line in lines if line.endswith("-m pytest")]
    with open(ROOT / "pyproject.toml", "rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    for line, extra in ((demo, "demo"), (tests, "test")):
        assert "\n" not in line
        make, install, run = [shlex.split(step) for step in line.split(" && ")]
        assert make == ["python3", "-m", "venv", ".venv"]
        assert install == [".venv/bin/pip", "install", "-q", f".[{extra}]"]
        assert extra in extras
        assert run[0] == ".venv/bin/python"
    assert (ROOT / shlex.split(demo)[-2]).is_file()
    assert "demo" in get_commands()


def test_demo_page_shows_every_step() -> None:
    found = re.search(r"<!-- demo -->\n```text\n(.*?)```\n<!-- /demo -->", page("demo"), re.DOTALL)
    assert found is not None
    assert found[1].startswith("1. ")  # not the output of pip
    story = (ROOT / "testproject/demo/story.py").read_text(encoding="utf-8")
    titles = re.findall(r'self\._timed\(f?"([^"]+)"', story)
    assert len(titles) >= 8
    for title in titles:
        assert title.split("{")[0] in found[1], title


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_page_links_lead_to_existing_files(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+\.md)(?:#[\w-]+)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).is_file(), target


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_page_names_only_existing_commands(path: Path) -> None:
    named = re.findall(r"manage\.py (\w+)", path.read_text(encoding="utf-8"))
    assert set(named) <= get_commands().keys()


def test_readme_names_every_command() -> None:
    own = {name for name, app in get_commands().items() if app == "igny8_backup"}
    assert len(own) >= 8
    assert own <= set(re.findall(r"\w+", README))


def test_changelog_has_a_section_for_the_version() -> None:
    assert f"\n## {__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_licence_file_matches_pyproject() -> None:
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    assert project["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License\n")


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: path.name)
def test_page_is_short_enough_to_read(path: Path) -> None:
    prose = re.sub(r"(?ms)^```.*?^```", "", path.read_text(encoding="utf-8"))
    assert len(prose.split()) <= WORDS
