"""What each key of an attacker does not allow, with the commands: see the page "Security model"."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.operations.keys.keygen import make_signing_key
from tests.bad_input.conftest import Ground
from tests.bad_input.outcome import Case, fail
from tests.management.commands import Command, Done, run_many


def test_backup_that_no_trusted_key_signed_is_refused_by_every_command_that_decodes_it(
    ground: Ground, tmp_path: Path
) -> None:
    trusted = {"TRUSTED": [f"{make_signing_key(tmp_path / 'key')} web-1"]}
    what = f"Backup {ground.id} is not trusted: it is not signed, or was changed after it was signed."
    argvs: list[list[str | Path]] = [
        [*ground.restore, ground.id, *ground.identity],
        [
            *(word for word in ground.restore if word != "--no-migrate"),
            ground.id,
            "--in-place",
            *ground.identity,
        ],
        ["restore_all", ground.id, "--dry-run", *ground.identity],
        ["extract_backup", ground.id, "--to-dir", tmp_path / "to", *ground.identity],
        ["drill_backup", ground.id, *ground.identity],
        ["verify_backup", ground.id, "--depth", "content", *ground.identity],
    ]
    unchanged = "It was not read, and nothing live was changed."
    fail(
        ground.project,
        *(
            Case(argv, 6, what, unchanged, notes=["will not count where TRUSTED"], settings=trusted)
            for argv in argvs
        ),
    )
    assert not (tmp_path / "to").exists()


def test_signing_key_opens_no_backup_and_identity_signs_none(ground: Ground, tmp_path: Path) -> None:
    make_signing_key(tmp_path / "key")
    identity = ground.project.identity
    fail(
        ground.project,
        Case([*ground.restore, ground.id, "--identity", tmp_path / "key"], 1, "identit"),
        Case(
            ["backup_all"],
            1,
            f"{identity} is not an Ed25519 key",
            settings={"SIGNING": {"KEY_FILE": str(identity)}},
        ),
    )


@dataclass(frozen=True)
class Signed:
    """A storage with a backup that the host signed, and the settings of this host."""

    ground: Ground
    storage: Path
    id: str
    settings: Mapping[str, Any]

    @property
    def manifest(self) -> Path:
        return self.storage / f"igny8/backups/{self.id}/manifest.json"

    def run(self, *argv: str | Path) -> Done:
        (done,) = run_many(self.ground.project, Command(argv, self.settings, self.storage))
        return done


@pytest.fixture
def signed(ground: Ground, tmp_path: Path) -> Signed:
    key = f"{make_signing_key(tmp_path / 'key')} web-1"
    settings = {"SIGNING": {"KEY_FILE": str(tmp_path / "key")}, "TRUSTED": [key], "RETENTION": {"last": 1}}
    storage = tmp_path / "signed"
    command = Command(["backup_all", "--full", "--json"], settings, storage)
    storage.mkdir()
    (made,) = run_many(ground.project, command)
    return Signed(ground, storage, made.ended(0).json["manifest"]["id"], settings)


def test_planted_newer_backup_is_neither_restored_nor_lets_prune_remove_anything(signed: Signed) -> None:
    """The planted backup is a copy of a real one with a later date, as whoever may write could make it."""
    planted = f"{signed.id[:-6]}ffffff"
    home = signed.manifest.parents[1]
    shutil.copytree(home / signed.id, home / planted)
    text = signed.manifest.read_text().replace(signed.id, planted)
    manifest = json.loads(text)
    for tree in manifest["trees"]:
        tree["packs"] = tree["pack_lists"] = []
    (home / planted / "manifest.json").write_text(json.dumps(manifest))
    plan = signed.run("restore_all", "--dry-run", "--json", *signed.ground.identity).ended(0).json
    assert {part["backup"] for part in (*plan["databases"], *plan["trees"])} == {signed.id}
    assert signed.run("prune_backups", "--json").json["removed"] == []
    assert signed.manifest.exists()


def test_prune_backups_deletes_no_pack_for_somebody_who_replaced_a_manifest(signed: Signed) -> None:
    manifest = json.loads(signed.manifest.read_text())
    packs = list((signed.storage / "igny8/packs").rglob("*.age"))
    for tree in manifest["trees"]:
        tree["packs"] = tree["pack_lists"] = []
    signed.manifest.write_text(json.dumps(manifest))
    pruned = signed.run("prune_backups", "--json").ended(3).json
    assert pruned["unreadable"] == [signed.id] and pruned["waiting"] == []
    assert packs and all(path.exists() for path in packs)


def test_deletion_passed_off_as_pruning_alarms(signed: Signed) -> None:
    record = signed.storage / f"igny8/runs/{signed.id}.json"
    run = json.loads(record.read_text())
    record.write_text(json.dumps({**run, "pruned": run["finished"]}))
    signed.manifest.unlink()
    monitored = signed.run("monitor_backups").ended(7).stdout
    assert f"gone, and no valid record says that prune_backups removed them: {signed.id}" in monitored
    pruned = signed.run("prune_backups")
    assert f"LOST: Backup {signed.id}" in pruned.ended(3).output
