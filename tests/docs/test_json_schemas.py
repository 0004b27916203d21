"""The published JSON schemas are those of the classes, and describe what the commands print."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from jsonschema import Draft202012Validator

from igny8_backup.operations.context import BackupContext
from tests.docs.pages import page
from tests.docs.schemas import FOLDER, rendered
from tests.operations.conftest import _no_wait_for_workers, context, trees  # noqa: F401  (fixtures)

Check = Callable[..., Any]


def test_schema_files_are_up_to_date() -> None:
    found = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert found == rendered(), "Run: python -m tests.docs.schemas"


def test_schemas_are_valid_and_listed() -> None:
    names = sorted(path.stem for path in FOLDER.iterdir())
    for name in names:
        Draft202012Validator.check_schema(json.loads((FOLDER / f"{name}.json").read_text()))
    linked = re.findall(r"<schemas/([\w-]+)\.json>", page("reference/json-schemas"))
    assert sorted(linked) == names


def test_every_command_of_the_page_on_json_has_a_schema() -> None:
    described = set(re.findall(r"`(\w+_\w+)", page("reference/json-schemas")))
    rows = [row.split("|")[1] for row in page("reference/json-output").splitlines() if row.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)", row)} <= described


@pytest.fixture
def printed() -> Check:
    """A function that runs a command with ``--json`` and checks its output."""

    def run(name: str, *argv: Any, status: int = 0) -> Any:
        out = StringIO()
        try:
            call_command(*map(str, argv), "--json", stdout=out, stderr=StringIO())
            ended = 0
        except CommandError as error:
            ended = error.returncode
        assert ended == status, (argv, ended, out.getvalue())
        schema = Draft202012Validator(json.loads((FOLDER / f"{name}.json").read_text()))
        lines = out.getvalue().splitlines() if name.endswith("-files") else [out.getvalue()]
        found = [json.loads(line) for line in lines]
        for item in found:
            problems = [f"{error.json_path}: {error.message}" for error in schema.iter_errors(item)]
            assert problems == [], (argv, problems)
        return found[0]

    return run


@pytest.mark.slow
def test_commands_print_what_the_schemas_say(
    context: BackupContext,  # noqa: F811 - a fixture
    printed: Check,
    tmp_path: Path,
) -> None:
    printed("backup", "backup_sites")
    made = printed("backup", "backup_sites", "--full")
    backup_id = made["manifest"]["id"]
    context.store.put_small("packs/web-1/sites/20200101T000000Z-7f3a9c-0001.tar.zst", b"an orphan")
    printed("list_backups", "list_backups")
    printed("list_backups-orphans", "list_backups", "--orphans")
    printed("show_backup", "show_backup", backup_id)
    printed("show_backup-files", "show_backup", backup_id, "--files")
    printed("verify_backup", "verify_backup", "--all")
    printed("drill_backup", "drill_backup", backup_id)
    printed("pin_backup", "pin_backup", backup_id, "--reason", "a test")
    printed("prune_backups", "prune_backups", "--dry-run")
    printed("retire_host", "retire_host", "web-1", "--reason", "a test")
    printed("monitor_backups", "monitor_backups")
    printed("report_backups", "report_backups")
    printed("report_backups", "report_backups", "--redact")
    printed("spot_check", "spot_check")
    printed("error", "show_backup", "20200101T000000Z-7f3a9c", status=2)


@pytest.mark.slow
@pytest.mark.usefixtures("context")
def test_restores_print_what_the_schemas_say(printed: Check, tmp_path: Path) -> None:
    printed("backup", "backup_sites")
    copy = tmp_path / "copy"
    printed("extract_backup-plan", "extract_backup", "--to-dir", copy, "--dry-run")
    printed("extract_backup", "extract_backup", "--to-dir", copy)
    printed("restore_all-plan", "restore_all", "--dry-run")
    printed("restore_all", "restore_all", "--noinput", "--ignore-workers")
    printed("undo_restore-plan", "undo_restore", "--dry-run", "--ignore-workers")
    printed("undo_restore", "undo_restore", "--ignore-workers")
    printed("undo_restore-discard-plan", "undo_restore", "--discard", "--dry-run")
    printed("undo_restore-discard", "undo_restore", "--discard", "--noinput")


@pytest.mark.slow
def test_key_commands_print_what_the_schemas_say(printed: Check, tmp_path: Path) -> None:
    printed("generate_backup_key", "generate_backup_key", tmp_path / "a.key")
    printed("generate_signing_key", "generate_signing_key", tmp_path / "b.key")
    printed("error", "generate_signing_key", tmp_path / "b.key", status=2)
