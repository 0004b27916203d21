"""docs/reference/commands.md has every command, its options and examples; every exit status is there."""

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
from tests.docs.pages import blocks, code_cells, page, section

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


DJANGOS = options(BaseCommand())


def test_every_command_has_a_section_and_no_other() -> None:
    headings = re.findall(r"^## (\w+)$", page("reference/commands"), re.MULTILINE)
    assert sorted(headings) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_the_options_are_those_of_the_command(name: str) -> None:
    cells = code_cells(section(page("reference/commands"), f"## {name}"))
    assert {cell[0].split()[0] for cell in cells} == options(command(name)) - DJANGOS


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_are_those_of_the_help(name: str) -> None:
    (shown,) = blocks(section(page("reference/commands"), f"## {name}"), "text")
    assert shown.rstrip("\n") == command(name).examples


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_begins_like_the_help(name: str) -> None:
    said = section(page("reference/commands"), f"## {name}").replace("`", "").replace("\n", " ").strip()
    assert said[:20] == command(name).help[:20]


def test_every_exit_status_is_on_the_page_and_no_other() -> None:
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BackupError)
    ]
    # Signals are 128 and their number: see management/base.py.
    raised = {0, 130, 143, ConfigurationError.exit_status, *(kind.exit_status for kind in kinds)}
    rows = re.findall(r"^\| (\d+) \|", page("reference/exit-statuses").split("\n## ")[0], re.MULTILINE)
    assert {int(row) for row in rows} == raised


def test_the_statuses_of_a_restore_are_among_them() -> None:
    rows = re.findall(
        r"^\| ([\d, ]+) \|", section(page("reference/exit-statuses"), "## Restores"), re.MULTILINE
    )
    assert {number for row in rows for number in row.split(", ")} == {
        "0", "1", "2", "3", "4", "5", "6", "8", "130", "143"
    }  # fmt: skip
