"""Everything that somebody who can write to the storage may forge: exit status, message, nothing removed.

Each case starts from a storage with two signed backups and alters it. The restore of the altered backup has
to fail with the given status and words before anything live is touched, and prune_backups, whose policy keeps
one backup only, must not remove the good one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.formats import keys
from igny8_backup.operations.keys.keygen import make_signing_key
from igny8_backup.signing import signing_key
from igny8_backup.signing.signing_key import SigningKey
from igny8_backup.signing.trust import MANIFEST, namespace
from tests.bad_input.conftest import Ground
from tests.bad_input.outcome import assert_one_line
from tests.management import state
from tests.management.commands import Command, run_many

pytestmark = [pytest.mark.slow, pytest.mark.services]


@dataclass(frozen=True)
class Signed:
    """A storage with two backups that a trusted key signed, and another key that nobody trusts."""

    ground: Ground
    storage: Path
    older: str
    newer: str
    settings: dict[str, Any]
    other: SigningKey

    def home(self, storage: Path, backup_id: str = "") -> Path:
        return storage / "igny8/backups" / (backup_id or self.newer)


@pytest.fixture(scope="module")
def signed(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    folder = tmp_path_factory.mktemp("signed")
    line = make_signing_key(folder / "trusted.key")
    make_signing_key(folder / "other.key")
    settings = {"SIGNING": {"KEY_FILE": str(folder / "trusted.key")}, "TRUSTED": [f"{line} web-1"]}
    backup = Command(["backup_all", "--full", "--json"], settings, folder / "storage")
    made = [done.ended(0).json["manifest"]["id"] for done in run_many(ground.project, backup, backup)]
    other = signing_key.load(folder / "other.key")
    yield Signed(ground, folder / "storage", made[0], made[1], settings, other)


Forge = Callable[[Signed, Path], None]


def changed(**fields: Any) -> Forge:
    """Change fields of the manifest."""

    def forge(signed: Signed, storage: Path) -> None:
        path = signed.home(storage) / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return forge


def replaced(old: str, new: str) -> Forge:
    """Replace a text in the manifest."""

    def forge(signed: Signed, storage: Path) -> None:
        path = signed.home(storage) / "manifest.json"
        text = path.read_text()
        found = old.format(id=signed.newer)
        assert found in text
        path.write_text(text.replace(found, new.format(id=signed.newer), 1))

    return forge


def signature(signed: Signed, storage: Path, backup_id: str = "") -> Path:
    (path,) = (signed.home(storage, backup_id) / "signatures").glob("manifest-*")
    return path


def signed_with_another_key(signed: Signed, storage: Path) -> None:
    document = (signed.home(storage) / "manifest.json").read_bytes()
    signature(signed, storage).write_bytes(signed.other.sign(document, namespace(MANIFEST)))


def signature_of_another_manifest(signed: Signed, storage: Path) -> None:
    shutil.copy(signature(signed, storage, signed.older), signature(signed, storage))


def signature_replayed_on_a_later_id(signed: Signed, storage: Path) -> None:
    """Put the older manifest, with its valid signature, in the place of the newer one."""
    for name in ("manifest.json", "signatures"):
        target = signed.home(storage) / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        source = signed.home(storage, signed.older) / name
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)


def signature_removed(signed: Signed, storage: Path) -> None:
    signature(signed, storage).unlink()


def signature_that_is_huge(signed: Signed, storage: Path) -> None:
    with signature(signed, storage).open("wb") as file:
        file.truncate(100 << 20)


def manifest_is(make: Callable[[Path], Any]) -> Forge:
    def forge(signed: Signed, storage: Path) -> None:
        path = signed.home(storage) / "manifest.json"
        path.unlink()
        make(path)

    return forge


FORGED: dict[str, tuple[Forge, str]] = {
    "unsigned": (signature_removed, "it is not signed"),
    "another key": (signed_with_another_key, "with a key that the settings do not trust"),
    "another signature": (signature_of_another_manifest, "its signature is wrong"),
    "replayed": (signature_replayed_on_a_later_id, "is that of another backup"),
    "huge signature": (signature_that_is_huge, "its signature is wrong"),
    "host": (changed(host="web-2"), "which the backup cannot have"),
    "started": (changed(started="2099-01-01T00:00:00Z"), "another start time than its id"),
    "id": (changed(id="../../etc"), "is that of another backup"),
    "type": (changed(databases="all"), "databases is not a list"),
    "count": (replaced('"raw_bytes": ', '"raw_bytes": 1' + "0" * 30), "has more than 64 bits"),
    "digits": (replaced('"raw_bytes": ', '"raw_bytes": 1' + "0" * 5000), "is not JSON"),
    "schema": (changed(schema=99), "has schema 99"),
    "nan": (replaced('"schema": 2', '"schema": 2, "x": NaN'), "contains NaN"),
    "twice": (replaced('"schema": 2', '"schema": 2, "schema": 2'), "has the same name twice"),
    "dots": (replaced("backups/{id}/db/", "backups/{id}/../db/"), "which the backup cannot have"),
    "newline": (replaced("backups/{id}/db/", "backups/{id}/db\\n/"), "which the backup cannot have"),
    "foreign": (replaced("packs/web-1/", "packs/../"), "which the backup cannot have"),
    "values": (manifest_is(lambda path: path.write_bytes(b"[" + b"{}," * (1 << 20) + b"{}]")), "JSON values"),
    "size": (manifest_is(lambda path: path.write_bytes(b" " * (17 << 20))), "is larger than"),
    "link": (manifest_is(lambda path: path.symlink_to("/etc/hostname")), "is a symbolic link"),
    "pipe": (manifest_is(lambda path: os.mkfifo(path)), "is a named pipe"),
}
"""What is forged, and words of the message of a restore."""


@pytest.mark.parametrize("name", FORGED)
def test_forged_backup_is_refused_and_pushes_nothing_out(signed: Signed, tmp_path: Path, name: str) -> None:
    forge, words = FORGED[name]
    storage = tmp_path / "storage"
    shutil.copytree(signed.storage, storage)
    forge(signed, storage)
    project, settings = signed.ground.project, {**signed.settings, "RETENTION": {"last": 1}}
    live = state.of_project(project)
    restore, planned, pruned, listed, watched = run_many(
        project,
        *(
            Command(argv, settings, storage)
            for argv in (
                [*signed.ground.restore, signed.newer, *signed.ground.identity],
                ["restore_all", "--dry-run", "--no-migrate", "--json", *signed.ground.identity],
                ["prune_backups", "--json"],
                ["list_backups"],
                ["monitor_backups"],
            )
        ),
    )
    assert_one_line(restore, 6, what=words)
    assert planned.ended(0).json["databases"][0]["backup"] == signed.older
    assert pruned.returncode in (0, 3) and pruned.json["removed"] == []
    assert signed.newer in listed.ended(0).stdout
    watched.ended(7)
    assert state.differences(live, state.of_project(project)) + state.leftovers(project) == []


def pin_of_nobody(signed: Signed, storage: Path) -> None:
    pin = {"schema": 1, "id": signed.older, "reason": "forged", "pinned": "2026-11-01T00:00:00Z"}
    (signed.home(storage, signed.older) / "pin.json").write_text(json.dumps(pin))


def run_that_never_ends(signed: Signed, storage: Path) -> None:
    path = storage / f"igny8/runs/{signed.newer}.json"
    run = json.loads(path.read_text())
    later = (datetime.now(UTC) + timedelta(days=400)).isoformat()
    made = "20260101T000000Z-abcdef"
    began = "2026-01-01T00:00:00Z"
    text = json.dumps({**run, "id": made, "started": began, "outcome": "running", "heartbeat": later})
    path.with_name(f"{made}.json").write_text(text)


def check_of_damage(signed: Signed, storage: Path) -> None:
    """Report that every object of the newer backup is missing."""
    home = signed.home(storage)
    now = datetime.now(UTC)
    damage = [
        {"key": path.relative_to(storage / "igny8").as_posix(), "kind": "missing"}
        for path in home.rglob("*.age")
    ]
    check = {
        "schema": 1,
        "id": signed.newer,
        "depth": "stored",
        "started": now.isoformat(),
        "finished": now.isoformat(),
        "sample": 100,
        "objects": 9,
        "read": 9,
        "bytes": 1,
        "damage": damage,
    }
    path = storage / "igny8" / keys.check_key(signed.newer, now.replace(microsecond=0), "stored")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(check))


HINTS: dict[str, tuple[Forge, int, str, int]] = {
    "pin": (pin_of_nobody, 0, "", 0),
    "run": (run_that_never_ends, 3, "IN THE FUTURE: the record of run 20260101T000000Z-abcdef", 1),
    "damage": (check_of_damage, 0, "", 1),
}
"""What is forged beside the backups; status, words and number of removed backups of prune_backups."""


@pytest.mark.parametrize("name", HINTS)
def test_forged_record_makes_nobody_less_careful(signed: Signed, tmp_path: Path, name: str) -> None:
    forge, status, words, removed = HINTS[name]
    storage = tmp_path / "storage"
    shutil.copytree(signed.storage, storage)
    forge(signed, storage)
    settings = {**signed.settings, "RETENTION": {"last": 1}}
    project = signed.ground.project
    pruned, watched, planned = run_many(
        project,
        Command(["prune_backups"], settings, storage),
        Command(["monitor_backups"], settings, storage),
        Command(
            ["restore_all", "--dry-run", "--no-migrate", "--json", *signed.ground.identity], settings, storage
        ),
    )
    assert words in pruned.ended(status).stderr
    left = {path.parent.name for path in storage.glob("igny8/backups/*/manifest.json")}
    assert left == ({signed.newer} if removed else {signed.older, signed.newer})
    assert planned.ended(0).json["databases"][0]["backup"] == signed.newer
    if name == "damage":
        assert "which no trusted key signed" in watched.ended(7).stdout


@pytest.mark.parametrize(
    "backup_id", ["../../etc", "20260101T000000Z-abcdef/..", "", "20261399T000000Z-abcdef"]
)
def test_id_that_is_none_is_refused_by_every_command(signed: Signed, backup_id: str) -> None:
    ground = signed.ground
    argvs: list[list[str | Path]] = [
        ["show_backup", backup_id],
        ["verify_backup", backup_id],
        ["pin_backup", backup_id, "--reason", "x"],
        ["accept_backup", backup_id, "--reason", "x"],
        ["accept_backup", backup_id, "--lost"],
        ["sign_backups", backup_id],
        [*ground.restore, backup_id, *ground.identity],
        ["drill_backup", backup_id, *ground.identity],
        ["extract_backup", backup_id, "--to-dir", "/nonexistent/x", *ground.identity],
    ]
    if not backup_id:
        # Without an id the others take the newest backup.
        argvs = [argv for argv in argvs[:6] if argv[0] != "verify_backup"]
    before = {path: path.stat().st_mtime_ns for path in signed.storage.rglob("*.json")}
    for done in run_many(ground.project, *(Command(argv, signed.settings, signed.storage) for argv in argvs)):
        done.ended(2)
    assert {path: path.stat().st_mtime_ns for path in signed.storage.rglob("*.json")} == before
