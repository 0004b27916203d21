"""Expected errors end with their exit status and say what happened, what is unchanged and what to do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyrage
import pytest

from tests.docs.pages import assert_shown
from tests.management.clients import client_folder, of_version
from tests.management.commands import Command, Done, run_many, run_one
from tests.management.conftest import BackedUp

UNKNOWN = "20260101T000000Z-000000"


class Cases:
    """Commands to run in one process, with the expected exit status and words of each."""

    def __init__(self, backed_up: BackedUp) -> None:
        self.project = backed_up.project
        self.restore = ["restore_all", "--noinput", "--database-name", self.project.database]
        self.identity = ["--identity", str(self.project.identity)]
        self.commands: list[Command] = []
        self.wanted: list[tuple[int, Sequence[str]]] = []

    def add(
        self,
        argv: Sequence[str | Path],
        status: int,
        *words: str,
        storage: Path | None = None,
        **settings: Any,
    ) -> None:
        """Add a command that must end with ``status`` and print each of the ``words``."""
        self.commands.append(Command([*argv], settings, storage))
        self.wanted.append((status, words))

    def check(self) -> list[Done]:
        results = run_many(self.project, *self.commands)
        for done, (status, words) in zip(results, self.wanted, strict=True):
            done.ended(status)
            for word in words:
                assert word in done.stderr, (done.argv, done.output)
            assert self.project.server.password not in done.output
        return results


@pytest.fixture
def cases(backed_up: BackedUp) -> Cases:
    return Cases(backed_up)


def test_command_with_unknown_name_ends_with_status_2(
    cases: Cases, backed_up: BackedUp, tmp_path: Path
) -> None:
    add, identity = cases.add, cases.identity
    add(["backup_db", "defualt"], 2, "no database 'defualt'", "Nothing was read", "among: default")
    add(["backup_sites", "site"], 2, "no tree 'site'", "among: sites-data, uploads, logs")
    add(["show_backup", UNKNOWN], 2, f"no backup '{UNKNOWN}'", "Nothing was changed", "list_backups")
    add(["show_backup", backed_up.id[:-1]], 2, "no backup", "list_backups")
    add([*cases.restore, UNKNOWN, *identity], 2, "no backup", "list_backups")
    add([*cases.restore, "--only", "site", *identity], 2, "no database or tree 'site'", "--only db, files")
    add([*cases.restore, "--only", "logs", *identity], 2, "complete copy of the tree 'logs'")
    add([*cases.restore, backed_up.id, "--only", "logs", *identity], 2, f"Backup {backed_up.id} has no")
    empty = tmp_path / "empty"
    empty.mkdir()
    add([*cases.restore, *identity], 2, "There is no backup", "list_backups", storage=empty)
    add([*cases.restore, "--only", "files", *identity], 2, "There is no backup", storage=empty)
    add(["list_backups"], 0, storage=empty)
    add(["undo_restore"], 2, "no restore to undo", "Nothing was changed")
    add(["undo_restore", "--discard", "--noinput"], 2, "No data of earlier restores", "Nothing was deleted")
    results = cases.check()
    assert_shown(results[0].stderr.replace("defualt", "nosuch"))
    assert_shown(results[4].stderr)
    assert "There is no backup in the folder" in results[-3].stdout
    assert "backup_all" in results[-3].stdout


def test_command_with_wrong_settings_is_refused(cases: Cases, tmp_path: Path) -> None:
    secret = str(pyrage.x25519.Identity.generate())
    nothing: dict[str, Any] = {"DATABASES": [], "SITES": {}, "LOGS": {}}
    add, unchanged = cases.add, "Nothing was read or written."
    add(["backup_db"], 2, "unknown key 'SITE'", unchanged, SITE={})
    add(["list_backups"], 2, "JOBS", unchanged, JOBS=0)
    add(["backup_db"], 4, "No recipient is set", unchanged, "generate_backup_key", ENCRYPTION={})
    mistyped = cases.project.recipient[:-1]
    add(["backup_all"], 4, "mistyped", unchanged, ENCRYPTION={"RECIPIENTS": [mistyped]})
    add(["backup_all"], 4, "secret key", "exposed", unchanged, ENCRYPTION={"RECIPIENTS": [secret]})
    add(["backup_all"], 2, "private key", unchanged, ENCRYPTION={"IDENTITY_FILE": secret})
    add(["backup_all"], 2, "othing", "SITES", **nothing)
    add(["backup_db"], 2, "othing", "DATABASES", **nothing)
    add(["backup_sites"], 2, "No tree is configured", "SITES", **nothing)
    add([*cases.restore, *cases.identity], 2, "othing", **nothing)
    file = tmp_path / "file"
    file.touch()
    add(["backup_db"], 1, str(file), "STATE_DIR", STATE_DIR=str(file))
    add(["backup_db"], 1, str(file), storage=file)
    add(["list_backups"], 1, str(file), storage=file)
    add(["list_backups"], 1, "does not exist", "Mount it", storage=tmp_path / "not mounted")
    inside = cases.project.sites / "state"
    add(["backup_all"], 4, "STATE_DIR", "lies in", unchanged, STATE_DIR=str(inside))
    results = cases.check()
    assert_shown(results[2].stderr)
    for done in results:
        assert secret[20:] not in done.output
    assert not inside.exists()


def test_command_with_wrong_identity_fails(cases: Cases, backed_up: BackedUp, tmp_path: Path) -> None:
    add, restore, unchanged = cases.add, cases.restore, "Nothing"
    key = pyrage.x25519.Identity.generate()
    other, open_to_all, broken = tmp_path / "other", tmp_path / "open", tmp_path / "broken"
    for path in (other, open_to_all):
        path.touch(0o600)
        path.write_text(f"{key}\n")
    open_to_all.chmod(0o644)
    broken.touch(0o600)
    broken.write_text(str(key)[:-1])
    add(restore, 1, "no identity is given", unchanged, "--identity FILE")
    add([*restore, "--identity", other], 1, "not encrypted to this identity", "recipient")
    add([*restore, "--identity", open_to_all], 1, "open to other users", f"chmod 600 {open_to_all}")
    add([*restore, "--identity", tmp_path / "none"], 1, "cannot be read: No such file")
    add([*restore, "--identity", tmp_path], 1, "cannot be read: Is a directory")
    add([*restore, "--identity", broken], 1, "Line 1 of")
    add([*restore, "--identity", str(key)], 1, "secret key is given instead of the path")
    add(["show_backup", backed_up.id, "--identity", other], 1, "not encrypted to this identity")
    add(["restore_all", "--dry-run", "--identity", other], 1, "not encrypted to this identity")
    add(["show_backup", backed_up.id], 0)
    results = cases.check()
    for number in (0, 1):
        assert_shown(results[number].stderr)
    for done in results:
        assert str(key)[20:-1] not in done.output


def test_command_with_missing_or_old_clients_fails(cases: Cases, tmp_path: Path) -> None:
    add, restore, real = cases.add, [*cases.restore, *cases.identity], cases.project.server.bin_dir
    none = tmp_path / "none"
    none.mkdir()
    old = client_folder(tmp_path / "old", real, pg_dump=of_version("14.9"), pg_restore=of_version("14.9"))
    mute = client_folder(tmp_path / "mute", real, pg_dump="exit 0  # --version")
    package = "apt-get install postgresql-client-18"
    add(["backup_db"], 1, f"no pg_dump in {none}", package, CLIENT_BIN_DIR=str(none))
    add(["backup_db"], 4, f"{old}/pg_dump is version 14.9", package, CLIENT_BIN_DIR=str(old))
    add(["backup_db"], 1, "is unknown: it printed", CLIENT_BIN_DIR=str(mute))
    add(restore, 4, "no pg_restore", package, "Nothing was changed", CLIENT_BIN_DIR=str(none))
    add(restore, 4, "pg_restore is version 14.9", package, "Nothing was", CLIENT_BIN_DIR=str(old))
    dry = ["restore_all", "--dry-run", "--json", *cases.identity]
    add(dry, 4, "cannot be restored here", CLIENT_BIN_DIR=str(old))
    missing, too_old, *_, plan = cases.check()
    assert_shown(missing.stderr)
    assert_shown(too_old.stderr)
    assert "14.9" in plan.json["obstacles"][0], "one JSON document that lists the blockers"


@pytest.mark.parametrize("failure", ["down", "wrong password"])
def test_command_with_unreachable_server_fails(backed_up: BackedUp, failure: str) -> None:
    project = backed_up.project
    url = project.environment["DATABASE_URL"]
    env = {
        "DATABASE_URL": {
            "down": url.replace(f":{project.server.port}/", ":1/"),
            "wrong password": url.replace(project.server.password, "wr0ng"),
        }[failure]
    }
    listed, saved, restored = run_many(
        project,
        ["list_backups"],
        ["backup_db"],
        ["restore_all", "--noinput", "--database-name", project.database, *Cases(backed_up).identity],
        env=env,
    )
    assert backed_up.id in listed.ended(0).stdout, "a listing needs no database"
    assert_shown(saved.stderr)
    for done in (saved, restored):
        assert "No connection to igny8@" in done.ended(1).stderr
        assert "dbshell --database default" in done.stderr
        assert project.server.password not in done.output and "wr0ng" not in done.output
    *_, run = sorted((project.storage / "igny8/runs").iterdir())
    record = json.loads(run.read_text())
    assert (record["outcome"], record["errors"]["default"]) == ("failed", "DatabaseError")


def test_plan_warns_of_other_secret_key_and_environment(backed_up: BackedUp) -> None:
    project = backed_up.project
    (planned,) = run_many(
        project,
        Command(["restore_all", "--dry-run", *Cases(backed_up).identity], {"ENVIRONMENT": "staging"}),
        env={"DJANGO_SECRET_KEY": "another key for tests, of no use elsewhere, fifty characters"},
    )
    assert "NOTE: SECRET_KEY differs from that of the backup" in planned.ended(0).stdout
    assert "NOTE: The backup was made in the environment 'test', and this one is 'staging'" in planned.stdout


def test_generate_backup_key_never_overwrites_a_file(backed_up: BackedUp, tmp_path: Path) -> None:
    project = backed_up.project
    made, again, nowhere, as_json = run_many(
        project,
        ["generate_backup_key", tmp_path / "key"],
        ["generate_backup_key", tmp_path / "key"],
        ["generate_backup_key", tmp_path / "no/such/folder/key"],
        ["generate_backup_key", tmp_path / "second", "--json"],
    )
    text = (tmp_path / "key").read_text()
    (secret,) = [line for line in text.splitlines() if line.startswith("AGE-SECRET-KEY-1")]
    recipient = str(pyrage.x25519.Identity.from_str(secret).to_public())
    assert f"# public key: {recipient}\n" in text and text.startswith("# created: 20")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert f'"ENCRYPTION": {{"RECIPIENTS": ["{recipient}"]}}' in made.ended(0).stdout
    assert secret[20:] not in made.output
    assert "was not overwritten" in again.ended(2).stderr and (tmp_path / "key").read_text() == text
    assert "cannot be written" in nowhere.ended(1).stderr
    assert as_json.ended(0).json["recipient"].startswith("age1")
    assert run_one(project, "show_backup", backed_up.id, "--identity", tmp_path / "key").returncode == 1
