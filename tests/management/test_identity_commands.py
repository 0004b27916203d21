"""Commands around identities: their output, and passphrases that are typed on a terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.output import as_on_the_page, commands_shown, skeleton
from tests.docs.pages import blocks, page, section
from tests.management.commands import Command, run_many
from tests.management.conftest import BackedUp
from tests.services.project import Project
from tests.services.terminal import on_a_terminal

PASSPHRASE = "correct horse battery"


def typed(project: Project, answers: list[str], *argv: str | Path) -> tuple[int, str]:
    """Run a command on a terminal of its own and answer its questions for passphrases."""
    lines = (f"{answer}\n".encode() for answer in answers)
    return on_a_terminal(project, lines, *map(str, argv), prompt=b": ")


def test_check_identity_shows_what_the_page_shows(backed_up: BackedUp) -> None:
    text = section(page("how-to/keys"), "## Prove that the identity opens the backups")
    ((argv, shown),) = commands_shown(blocks(text, "console")[0])
    identity = str(backed_up.project.identity)
    words = [identity if word == "igny8-backup.key" else word for word in argv]
    done, as_json = run_many(backed_up.project, words, [*words, "--json"])
    printed = as_on_the_page(done.ended(0).output, backed_up.project)
    printed = printed.replace(
        backed_up.project.recipient, "age16asdtdmufvjl9up6lazg5r90a6vtqq6fh63j7aruw8u8e6nnwslqsnllqs"
    )
    assert skeleton(printed) == skeleton(shown), printed
    found = as_json.ended(0).json
    assert found["complete"] and [item["id"] for item in found["backups"]] == [backed_up.id]


def test_rotate_recipients_shows_what_the_page_shows(backed_up: BackedUp) -> None:
    text = section(page("how-to/rotate-keys"), "## Change the recipients of existing backups")
    ((argv, shown),) = commands_shown(blocks(text, "console")[0])
    (recipient,) = set(re.findall(r"age1\w+", shown))
    identity = str(backed_up.project.identity)
    words = [identity if word == "igny8-backup.key" else word for word in argv]
    settings = {"ENCRYPTION": {"RECIPIENTS": [recipient]}}
    rest = [word for word in words if word != "--dry-run"]
    done, as_json, unasked = run_many(
        backed_up.project,
        Command(words, settings),
        Command([*words, "--json"], settings),
        Command(rest, settings),
    )
    printed = as_on_the_page(done.ended(0).output, backed_up.project)
    assert skeleton(printed) == skeleton(shown), printed
    found = as_json.ended(0).json
    assert [group["ids"] for group in found["plan"]["groups"]] == [[backed_up.id]] and not found["rotated"]
    assert "needs a confirmation" in unasked.ended(2).stderr


@pytest.mark.slow
def test_passphrase_of_an_identity_file_is_asked_for_and_never_shown(
    backed_up: BackedUp, tmp_path: Path
) -> None:
    project, file = backed_up.project, tmp_path / "new.key"
    make: list[str | Path] = ["generate_backup_key", file, "--passphrase", "--no-signing-key"]
    status, shown = typed(project, [PASSPHRASE, PASSPHRASE], *make)
    assert status == 0 and PASSPHRASE not in shown, shown
    assert b"AGE-SECRET-KEY" not in file.read_bytes() and file.stat().st_mode & 0o777 == 0o600
    # The new identity opens its file, and none of the old backups.
    status, shown = typed(project, [PASSPHRASE], "check_identity", "--identity", file)
    assert status == 3 and "opens 0 of 1 backup" in shown and PASSPHRASE not in shown, shown


def test_new_passphrase_that_is_short_or_mistyped_creates_no_key(backed_up: BackedUp, tmp_path: Path) -> None:
    make: list[str | Path] = ["generate_backup_key", tmp_path / "key", "--passphrase"]
    status, shown = typed(backed_up.project, ["short"], *make)
    assert status == 2 and "fewer than 12 characters" in shown
    status, shown = typed(backed_up.project, [PASSPHRASE, PASSPHRASE[:-1]], *make)
    assert status == 2 and "differ" in shown
    (done,) = run_many(backed_up.project, make)
    assert "no terminal" in done.ended(2).stderr
    assert list(tmp_path.iterdir()) == []
