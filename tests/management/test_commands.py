"""All commands: help texts, JSON output, questions, and output on a terminal."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command, get_commands
from django.core.management.base import CommandError

from igny8_backup.common.humanize import printable
from igny8_backup.management.progress import TextProgress
from tests.management.commands import Command, run_many
from tests.management.conftest import BackedUp
from tests.services.terminal import on_a_terminal

COMMANDS = [
    "accept_backup",
    "backup_all",
    "backup_db",
    "backup_fleet",
    "backup_sites",
    "check_identity",
    "copy_backups",
    "drill_backup",
    "extract_backup",
    "generate_backup_key",
    "generate_signing_key",
    "list_backups",
    "monitor_backups",
    "pin_backup",
    "prune_backups",
    "report_backups",
    "restore_all",
    "retire_host",
    "rotate_recipients",
    "show_backup",
    "sign_backups",
    "spot_check",
    "undo_restore",
    "verify_backup",
]


def test_commands_are_complete() -> None:
    assert sorted(name for name, app in get_commands().items() if app == "igny8_backup") == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_command_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        call_command(command, "--help")
    assert not caught.value.code
    text = capsys.readouterr().out
    assert "examples:\n  manage.py " + command in text
    assert "--json" in text
    assert max(len(line) for line in text.splitlines()) < 120


def test_command_with_json_prints_valid_json(backed_up: BackedUp, tmp_path: Path) -> None:
    project = backed_up.project
    identity = ["--identity", str(project.identity)]
    separate_state = {"STATE_DIR": str(tmp_path / "state")}
    good: list[tuple[Command, str]] = [
        (Command(["backup_db", "--json"], separate_state, tmp_path / "storage"), "manifest"),
        (Command(["backup_sites", "uploads", "--json"], separate_state, tmp_path / "storage"), "manifest"),
        (Command(["list_backups", "--orphans", "--json"]), "litter"),
        (Command(["show_backup", backed_up.id, "--json"]), "manifest"),
        (Command(["show_backup", backed_up.id, "--json", *identity]), "details"),
        (Command(["restore_all", "--dry-run", "--json", *identity]), "obstacles"),
        (Command(["pin_backup", backed_up.id, "--reason", "for a test", "--json"]), "pin"),
        (Command(["prune_backups", "--dry-run", "--json"]), "plan"),
        (Command(["pin_backup", backed_up.id, "--unpin", "--json"]), "pin"),
        (Command(["generate_backup_key", str(tmp_path / "key"), "--json"]), "recipient"),
        (Command(["restore_all", "--only", "uploads", "--noinput", "--json", *identity]), "journal"),
        (Command(["undo_restore", "--json"]), "journal"),
        (Command(["undo_restore", "--discard", "--noinput", "--json"]), "discarded"),
    ]
    wrong: dict[str, Any] = {"SITE": {}}
    bad = [
        Command([*command, "--json"], wrong)
        for command in (
            ["backup_all"],
            ["backup_db"],
            ["backup_sites"],
            ["list_backups"],
            ["monitor_backups"],
            ["pin_backup", backed_up.id, "--unpin"],
            ["prune_backups"],
            ["restore_all"],
            ["show_backup", backed_up.id],
            ["undo_restore"],
            ["verify_backup"],
        )
    ]
    bad.append(Command(["generate_backup_key", str(tmp_path / "key"), "--json"]))
    bad.append(Command(["undo_restore", "--json"]))
    bad.append(Command(["undo_restore", "--discard", "--json"]))
    results = run_many(project, *(command for command, _ in good), *bad)
    for done, (_, key) in zip(results, good, strict=False):
        assert key in done.ended(0).json
        if "journal" in done.json:  # the details of databases are encrypted in storage
            assert done.json["journal"]["trees"] and "details" not in done.stdout
    for done in results[len(good) :]:
        failure = done.ended(2).json
        assert set(failure) == {"error", "message", "exit_status"}
        assert failure["exit_status"] == 2
        assert failure["message"] in done.stderr


def test_command_line_errors_end_with_status_2(backed_up: BackedUp) -> None:
    # An empty argument comes from an unset variable and must not count as "not given".
    empty = [["extract_backup", *words, ""] for words in ([], ["--to-database"], ["--to-dir"], ["--path"])]
    results = run_many(
        backed_up.project,
        ["backup_db", "--no-such-option"],
        ["show_backup"],
        ["restore_all", "a", "b"],
        ["restore_all", ""],
        ["restore_all", "--stop-timeout", "nan"],
        ["restore_all", "--dry-run", "--wait", "1"],
        ["prune_backups", "--dry-run", "--wait", "1"],
        ["undo_restore", "--discard", "--stop-workers"],
        *empty,
    )
    for done in results:
        assert "usage: manage.py" in done.ended(2).stderr


def test_restore_all_with_an_option_of_extract_backup_names_the_new_command(backed_up: BackedUp) -> None:
    moved = [["--to-database", "copy"], ["--to-database", ""], ["--to-dir", "/x"], ["--table", "a"]]
    moved += [["--path", "a"], ["--migrate"]]
    for options, done in zip(
        moved,
        run_many(backed_up.project, *(["restore_all", "--noinput", *words] for words in moved)),
        strict=True,
    ):
        text = done.ended(2).stderr
        assert f"restore_all no longer takes {options[0]}. Nothing was changed. Use: manage.py" in text
        assert "extract_backup [ID] --to-d" in text and options[0] in text.split("[ID]")[1]


def test_worker_and_in_place_options_without_effect_are_refused(backed_up: BackedUp) -> None:
    refused = run_many(
        backed_up.project,
        *(
            ["restore_all", "--in-place", *given]
            for given in (["--assume-space", "1GB"], ["--allow-set-id"], ["--locale", "C"], ["--sanitize"])
        ),
    )
    for done in refused:
        assert "cannot be combined with --in-place" in done.ended(2).stderr
    for done in run_many(
        backed_up.project,
        ["restore_all", "--stop-timeout", "5"],
        ["undo_restore", "--discard", "--stop-timeout", "5"],
    ):
        assert "--stop-timeout needs --stop-workers" in done.ended(2).stderr


def test_text_from_storage_cannot_control_the_terminal(backed_up: BackedUp, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(backed_up.project.storage, storage)
    path = storage / f"igny8/backups/{backed_up.id}/manifest.json"
    words = "\x1b]0;owned\x07\x1b[2J \r\u202e x"
    # Without trees, because a manifest whose packs are not those of its host is unreadable.
    forged = {"trees": [], "label": words, "host": words}
    path.write_text(json.dumps({**json.loads(path.read_text()), **forged}))
    refused, *shown = run_many(
        backed_up.project,
        ["backup_sites", "uploads", "--label", words],
        Command(["list_backups"], storage=storage),
        Command(["show_backup", backed_up.id], storage=storage),
    )
    assert "The label contains characters that cannot be printed" in refused.ended(2).stderr
    for done in shown:
        assert "owned" in done.ended(0).stdout
        assert not set("\x1b\x07\r\u202e") & set(done.output)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("as it is, ü 日本 🎉\n\tnext", "as it is, ü 日本 🎉\n\tnext"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\x00b\x7f\x9b", "a\\x00b\\x7f\\x9b"),
        ("\ud800", "\\xd800"),
        ("\u202egpj.exe", "\\x202egpj.exe"),
    ],
)
def test_printable_escapes_control_characters(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode()


def test_progress_without_terminal_prints_nothing_at_first() -> None:
    stream = io.StringIO()
    with TextProgress(stream) as shown:
        shown.begin("database default", 10_000_000)
        for _ in range(100):
            shown.advance(100_000)
        shown.end()
        assert stream.getvalue() == ""
        shown.note("something to read")
    assert stream.getvalue() == "something to read"


def test_progress_on_a_terminal_restores_the_cursor(backed_up: BackedUp, tmp_path: Path) -> None:
    folders = {"FOLDER": "storage", "STATE_DIR": "state"}
    env = {f"IGNY8_BACKUP_{name}": str(tmp_path / folder) for name, folder in folders.items()}
    status, shown = on_a_terminal(backed_up.project, b"", "backup_sites", env=env)
    assert status == 0, shown
    assert "files uploads" in shown and "\x1b[?25l" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor is back"


@pytest.mark.parametrize("typed", [b"yes\n", b"\x04"])
def test_restore_all_asks_for_the_database_name(backed_up: BackedUp, typed: bytes) -> None:
    command = ["restore_all", "--identity", str(backed_up.project.identity)]
    status, shown = on_a_terminal(backed_up.project, typed, *command)
    assert status == 2, shown
    question = f"Type the name of the database to replace it ({backed_up.project.database}): "
    assert question in shown and "\x1b[?25l" not in shown.split(question)[0], "the cursor is hidden"
    assert "was not typed. Nothing was changed." in shown
    assert "Traceback" not in shown


def test_purge_queue_asks_for_the_word_purge(backed_up: BackedUp) -> None:
    command = ["restore_all", "--only", "uploads", "--purge-queue"]
    status, shown = on_a_terminal(
        backed_up.project, b"yes\n", *command, "--identity", str(backed_up.project.identity)
    )
    assert status == 2, shown
    assert "Type purge to discard the tasks in the queues (0 tasks now): " in shown
    assert "The confirmation purge was not typed. Nothing was changed." in shown


def test_call_command_raises_with_the_exit_status(settings: Any, tmp_path: Path) -> None:
    """Python code that calls a command gets an exception with the exit status."""
    settings.IGNY8_BACKUP = {"SITE": {}}
    out = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("backup_all", json=True, stdout=out)
    assert caught.value.returncode == 2
    assert json.loads(out.getvalue())["exit_status"] == 2


@pytest.mark.parametrize("typed", [b"yes\n", b"\x04"])
def test_restore_all_asks_before_it_uses_vulnerable_programs(
    backed_up: BackedUp, typed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backed_up.project, "consents", False)
    command = ["restore_all", "--identity", str(backed_up.project.identity)]
    status, shown = on_a_terminal(backed_up.project, typed, *command)
    assert status == 2, shown
    text = " ".join(shown.split())
    assert "Type vulnerable to restore with" in text and "CVE-2026-116314" in text
    assert "The confirmation vulnerable was not typed. Nothing was changed." in text
