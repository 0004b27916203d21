"""Test that the assertions in ``outcome`` fail where a command behaves wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bad_input.conftest import Ground
from tests.bad_input.outcome import assert_one_line, loose, nothing_changes, shown
from tests.management.commands import Done, run_many


def test_nothing_changes_with_leftovers_fails(ground: Ground) -> None:
    storage = ground.project.storage
    key = "packs/web-1/uploads/20200101T000000Z-000000-0001.tar.zst.age"
    path = storage / "igny8" / key
    path.write_bytes(b"x" * 1500)
    try:
        assert loose(storage) == shown(ground.project) == {key}
        (done,) = run_many(ground.project, ["list_backups", "--orphans"])
        size, unit, *_, what, name = done.ended(0).stdout.splitlines()[1].split()
        assert (size, unit, what, name) == ("1.5", "kB", "orphan", key)
        assert f"1 orphaned object (1.5 kB) in the folder {storage}/igny8" in done.stdout
    finally:
        path.unlink()
    assert loose(storage) == set()


def test_nothing_changes_with_changed_backups_fails(ground: Ground, tmp_path: Path) -> None:
    manifest = tmp_path / "igny8/backups/x/manifest.json"
    manifest.parent.mkdir(parents=True)
    for change in (manifest.touch, lambda: manifest.write_text("{}"), manifest.unlink):
        with (
            pytest.raises(AssertionError, match="the backups were changed"),
            nothing_changes(ground.project, folder=tmp_path),
        ):
            change()


def test_nothing_changes_with_changed_file_fails(ground: Ground) -> None:
    new = ground.project.uploads / "new"
    with pytest.raises(AssertionError, match="changed: .*new"), nothing_changes(ground.project):
        new.touch()
    new.unlink()


@pytest.mark.parametrize(
    ("stderr", "wrong"),
    [
        ("CommandError: This. That is as it was. Do so.", ""),
        ("CommandError: This. Do so. That is as it was.", "'so.' is not in its place"),
        ("CommandError: This. That is as it was.", "'so.' is not in its place"),
        ("a note\nCommandError: This. That is as it was. Do so.", ""),
        ("a warning\nCommandError: This. That is as it was. Do so.", "unexpected line: 'a warning'"),
        ("CommandError: This. That is as it was. Do so.\nmore", "more"),
        ("Traceback (most recent call last)\nCommandError: This. That is as it was. Do so.", "Traceback"),
    ],
)
def test_assert_one_line_without_all_parts_fails(stderr: str, wrong: str) -> None:
    def check(status: int) -> None:
        done = Done(["backup_all"], status, "", f"{stderr}\n")
        assert_one_line(done, 1, what="This", unchanged="as it was", hint="so.", notes=["a note"])

    if wrong:
        with pytest.raises(AssertionError, match=wrong):
            check(1)
    else:
        check(1)
        with pytest.raises(AssertionError, match="ended with 0"):
            check(0)
