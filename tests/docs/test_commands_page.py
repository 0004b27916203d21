"""The pages of commands have every option and example; every exit status is documented."""

from __future__ import annotations

import re
from argparse import SUPPRESS
from typing import Any

import pytest
from django.core.management import BaseCommand, get_commands, load_command_class

from igny8_backup import errors
from igny8_backup.conf import ConfigurationError
from igny8_backup.errors import BackupError
from igny8_backup.management.base import BackupCommand
from tests.docs.pages import DOCS, blocks, code_cells, page, section

COMMANDS = sorted(name for name, app in get_commands().items() if app == "igny8_backup")


def command(name: str) -> BackupCommand:
    found = load_command_class("igny8_backup", name)
    assert isinstance(found, BackupCommand)
    return found


def options(found: BaseCommand) -> set[str]:
    parser: Any = found.create_parser("manage.py", "x")
    return {
        option
        for action in parser._actions
        if action.help is not SUPPRESS
        for option in action.option_strings
        if option.startswith("--")
    }


def plain(text: str) -> str:
    """The text on one line, without the marks of Markdown."""
    return " ".join(re.sub(r"\\?([`|])", r"\1", text).replace("`", "").split())


DJANGOS = options(BaseCommand())


def test_commands_page_links_to_one_page_for_each_command() -> None:
    assert sorted(path.stem for path in (DOCS / "reference/commands").glob("*.md")) == COMMANDS
    linked = re.findall(r"\]\(commands/(\w+)\.md\)", page("reference/commands"))
    assert sorted(linked) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_command_page_lists_every_option(name: str) -> None:
    cells = code_cells(page(f"reference/commands/{name}"))
    assert {cell[0].split()[0] for cell in cells} == options(command(name)) - DJANGOS


@pytest.mark.parametrize("name", COMMANDS)
def test_command_page_describes_options_as_the_help_does(name: str) -> None:
    parser: Any = command(name).create_parser("manage.py", name)
    helps = {
        option: plain(action.help % {"default": action.default})
        for action in parser._actions
        for option in action.option_strings
        if action.help is not SUPPRESS
    }
    for row in re.findall(r"(?m)^\| `--.*$", page(f"reference/commands/{name}")):
        _, cell, text, _ = re.split(r"(?<!\\)\|", row)
        assert plain(text) == helps[plain(cell).split()[0]]


@pytest.mark.parametrize("name", COMMANDS)
def test_command_page_shows_the_examples_of_the_help(name: str) -> None:
    (shown,) = blocks(page(f"reference/commands/{name}"), "text")
    assert shown.rstrip("\n") == command(name).examples


@pytest.mark.parametrize("name", COMMANDS)
def test_command_page_begins_like_the_help(name: str) -> None:
    summary = plain(page(f"reference/commands/{name}").removeprefix(f"# {name}\n"))
    assert summary[:20] == plain(command(name).help)[:20]


def test_exit_statuses_page_lists_every_status() -> None:
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BackupError)
    ]
    # Signals are 128 and their number: see management/base.py.
    raised = {0, 129, 130, 143, ConfigurationError.exit_status, *(kind.exit_status for kind in kinds)}
    rows = re.findall(r"^\| (\d+) \|", page("reference/exit-statuses").split("\n## ")[0], re.MULTILINE)
    assert {int(row) for row in rows} == raised


def test_exit_statuses_page_lists_those_of_a_restore() -> None:
    rows = re.findall(
        r"^\| ([\d, ]+) \|", section(page("reference/exit-statuses"), "## Restores"), re.MULTILINE
    )
    assert {number for row in rows for number in row.split(", ")} == {
        "0", "1", "2", "3", "4", "5", "6", "8", "129", "130", "143"
    }  # fmt: skip
