"""The parsers of commands, also where a library has changed Django's base class."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import load_command_class
from django.core.management.base import BaseCommand


@pytest.mark.parametrize("name", ["backup_db", "restore_all"])
def test_parser_of_a_base_class_that_takes_no_further_arguments_has_the_examples(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """django-configurations replaces the method by one of this kind, which adds an option."""
    original = BaseCommand.create_parser

    def create_parser(self: BaseCommand, prog_name: str, subcommand: str) -> Any:
        parser = original(self, prog_name, subcommand)
        parser.add_argument("--configuration")
        return parser

    monkeypatch.setattr(BaseCommand, "create_parser", create_parser)
    parser: Any = load_command_class("igny8_backup", name).create_parser("manage.py", name)
    text = parser.format_help()
    assert "--configuration" in text and f"examples:\n  manage.py {name}" in text
