"""The tutorial works as written: its commands, in their order, print what it shows."""

from __future__ import annotations

import re

import pytest

from tests.docs.output import as_on_the_page, commands_shown, skeleton
from tests.docs.pages import blocks, page
from tests.management.commands import run_many
from tests.services.project import Project

KEY = "igny8-backup.key"
PLAN = "Plan\n...\n"
ANSWERS = {"restore_all": "Type the name of the database", "undo_restore": "Delete what the restores"}
"""The questions that a terminal asks; a test gives the answers as options."""


def without_answers(shown: str) -> str:
    """The output below the plan, which the page leaves out, without questions."""
    lines = shown.rpartition(PLAN)[2].splitlines()
    return "\n".join(line for line in lines if not line.startswith(tuple(ANSWERS.values())))


@pytest.mark.slow
def test_tutorial_commands_print_what_it_shows(project: Project) -> None:
    project.seed_small()
    commands = [item for block in blocks(page("tutorial"), "console") for item in commands_shown(block)]
    names = [argv[0] for argv, _ in commands]
    assert names == [
        "generate_backup_key", "check", "backup_all", "list_backups",
        "restore_all", "restore_all", "undo_restore", "undo_restore",
    ]  # fmt: skip
    project.environment["IGNY8_BACKUP_RECIPIENTS"] = ""
    made = ""
    for argv, shown in commands:
        words = [str(project.folder / KEY) if word == KEY else word for word in argv]
        words = [made if re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{6}", word) else word for word in words]
        if argv[0] == "restore_all" and "--dry-run" not in argv:
            words += ["--noinput", "--database-name", project.database]
        if "--discard" in argv:
            words.append("--noinput")
        if argv[0] == "check":
            done = project.run(*words)
            assert done.returncode == 0, done.stdout + done.stderr
            # Unlike a reader of the tutorial, the test project has Celery without any schedule, and a
            # PostgreSQL with known security holes.
            found = set(re.findall(r"igny8_backup\.[EW]\d+", done.stderr))
            assert found <= {"igny8_backup.W004", "igny8_backup.W022"}
            continue
        (result,) = run_many(project, words)
        said = result.ended(0).output
        if argv[0] == "generate_backup_key":
            use_new_keys(project, said)
        if argv[0] == "backup_all":
            (made,) = re.findall(r"^Backup (\S+)", said, re.MULTILINE)
        if shown:
            said = as_on_the_page(said, project).replace(str(project.folder), "/data/app/igny8/backend")
            said = said.replace('"ENVIRONMENT": "production"', '"ENVIRONMENT": "staging"')
            printed, expected = (skeleton(recipients(text)) for text in (said, without_answers(shown)))
            if PLAN in shown:
                printed = [line for line in printed if line in expected]
            assert printed == expected, said


def use_new_keys(project: Project, said: str) -> None:
    """Put the public keys and the path of the signing key into the settings, as the command says."""
    project.environment["IGNY8_BACKUP_RECIPIENTS"] = re.findall(r"^age1\S+$", said, re.MULTILINE)[0]
    project.environment["IGNY8_BACKUP_TRUSTED"] = re.findall(r"^ssh-ed25519 .+$", said, re.MULTILINE)[0]
    project.environment["IGNY8_BACKUP_SIGNING_KEY"] = str(project.folder / "igny8-backup-signing.key")


def recipients(text: str) -> str:
    return re.sub(r"age1[0-9a-z]+", "RECIPIENT", re.sub(r"AAAA\S+", "KEY", text))
