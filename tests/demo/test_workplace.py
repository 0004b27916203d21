"""The demo's folder: one demo at a time, and nothing removed that is not its own."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from demo.workplace import MARKER, Workplace, WorkplaceError


def test_workplace_without_the_marker_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years of work")
    with pytest.raises(WorkplaceError, match="not the demo's"), Workplace(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_workplace_removes_leftovers_and_keeps_results(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    with Workplace(tmp_path / "demo") as place:
        (place.storage / "old").touch()
        (place.folder / "link").symlink_to(outside)
    assert (place.storage / "old").exists()
    with Workplace(tmp_path / "demo") as place:
        assert stat.S_IMODE(place.folder.stat().st_mode) == 0o700
        names = {path.name for path in place.folder.iterdir()}
    assert names == {MARKER, "storage", "sites-data", "uploads", "state", "scratch"}
    assert not list(place.storage.iterdir())
    assert (outside / "kept").exists()


def test_workplace_in_use_refuses_a_second_demo(tmp_path: Path) -> None:
    with Workplace(tmp_path / "demo") as place:
        (place.storage / "mine").touch()
        with pytest.raises(WorkplaceError, match="Another demo is running"), Workplace(tmp_path / "demo"):
            pass
        assert (place.storage / "mine").exists()
    with Workplace(tmp_path / "demo"):
        pass


def test_workplace_removes_the_servers_folder_at_the_end(tmp_path: Path) -> None:
    with Workplace(tmp_path / "demo") as place:
        base = place.server()
        (base / "data").mkdir()
        assert stat.S_IMODE(base.stat().st_mode) == 0o700
    assert not base.exists()


def test_workplace_never_removes_a_servers_folder_without_the_marker(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    with Workplace(tmp_path / "demo") as place:
        pass
    (place.folder / "server-folder").write_text(str(precious))
    with Workplace(tmp_path / "demo"):
        pass
    assert precious.is_dir()
