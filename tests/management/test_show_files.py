"""``show_backup --files`` reads the local index without a key, and the stored index with one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from igny8_backup.trees.model.names import escape
from tests.management.commands import Command, run_many, run_one
from tests.management.conftest import BackedUp
from tests.management.harm import altered, damaged, extended, packs_to_rewrite, truncated
from tests.services.project import Project
from tests.trees.tools import look


@pytest.mark.postgres(18)
def test_show_files_on_the_same_host_needs_no_key(project: Project) -> None:
    project.seed_small()
    made = run_one(project, "backup_sites", "--json").ended(0).json["manifest"]["id"]
    named = f"one\x1b[31m\n{chr(0xDCFF)}.html"
    odd = project.uploads / named
    odd.write_text("12345")
    odd.chmod(0o640)
    newest = run_one(project, "backup_sites", "uploads", "--json").ended(0).json["manifest"]["id"]
    expected = {escape(path) for path in look(project.uploads) if path}
    spelled = escape(named.encode("utf-8", "surrogateescape"))

    all_files, plain, one, older, keyed = run_many(
        project,
        ["show_backup", newest, "--files", "--json"],
        ["show_backup", newest, "--files"],
        ["show_backup", newest, "--json", "--files", "one*"],
        ["show_backup", made, "--files", "--json"],
        ["show_backup", made, "--files", "--json", "--identity", project.identity],
    )
    found = [json.loads(line) for line in all_files.ended(0).stdout.splitlines()]
    assert {item["path"] for item in found} == expected and {item["tree"] for item in found} == {"uploads"}
    assert "-rw-r-----            5 20" in plain.ended(0).stdout
    assert "\x1b" not in plain.stdout
    assert len(plain.stdout.splitlines()) == len(expected), "the newline in the file name is escaped"
    (nothing,) = run_many(project, ["show_backup", newest, "--files", "uploads"])
    assert f"No path in the trees of backup {newest} matches 'uploads'." in nothing.ended(2).stderr
    (only,) = [json.loads(line) for line in one.ended(0).stdout.splitlines()]
    assert (only["path"], only["size"], only["mode"]) == (spelled, 5, "0640")
    # For sites-data this is still the newest backup; for uploads the previous index is kept as well.
    listed = {json.loads(line)["tree"] for line in older.ended(0).stdout.splitlines()}
    assert listed == {"sites-data", "uploads"}
    assert keyed.ended(0).stdout == older.stdout

    # The program after the pipe has ended and reads no more.
    pipe = ["bash", "-c", '"$@" | true; exit "${PIPESTATUS[0]}"', "-"]
    cut = project.run("show_backup", newest, "--files", under=pipe)
    assert (cut.returncode, cut.stderr) == (0, "")

    # On another host, or for an older backup, a key is needed.
    (index,) = (project.state / "indexes").rglob(f"*/sites-data/{made}.index")
    index.unlink()
    locked, keyed = run_many(
        project,
        ["show_backup", made, "--files"],
        ["show_backup", made, "--files", "--json", "--identity", project.identity],
    )
    assert "'sites-data' is encrypted" in locked.ended(1).stderr and "--identity FILE" in locked.stderr
    assert keyed.ended(0).stdout == older.stdout


@pytest.mark.parametrize("harm", [altered, truncated, packs_to_rewrite, extended])
def test_show_files_with_damaged_local_index_reads_the_stored_one(
    backed_up: BackedUp, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    project, state = backed_up.project, tmp_path / "state"
    shutil.copytree(project.state, state)
    (index,) = (state / "indexes").rglob("*/uploads/*.index")
    harm(index)
    listing: list[str | Path] = ["show_backup", backed_up.id, "--files", "--json"]
    good, locked, keyed = run_many(
        project,
        listing,
        Command(listing, {"STATE_DIR": str(state)}),
        Command([*listing, "--identity", project.identity], {"STATE_DIR": str(state)}),
    )
    assert str(index) in locked.ended(6).stderr and "--identity FILE" in locked.stderr
    assert locked.json["error"] == "IntegrityError"
    assert keyed.ended(0).stdout == good.ended(0).stdout
    assert str(index) in keyed.stderr and "The index in storage is read instead." in keyed.stderr


@pytest.mark.parametrize("harm", [altered, truncated, packs_to_rewrite, extended])
def test_show_files_with_damaged_stored_index_fails(
    backed_up: BackedUp, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    project = backed_up.project
    storage = damaged(project, tmp_path, "backups/*/files/uploads.index.zst.age", harm)
    listing: list[str | Path] = ["show_backup", backed_up.id, "--files", "--identity", project.identity]
    here, other_host = run_many(
        project,
        Command(listing, storage=storage),
        Command(listing, {"STATE_DIR": str(tmp_path / "elsewhere")}, storage),
    )
    here.ended(0)  # from the index in STATE_DIR
    assert "files/uploads.index.zst.age" in other_host.ended(6).stderr, other_host.output
