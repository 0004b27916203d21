"""Deletion of directory trees."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread

import pytest

from igny8_backup.errors import FilesError
from igny8_backup.trees.fs.remove import remove_tree
from tests.trees.planting import plant
from tests.trees.tools import in_child


def test_remove_tree_odd_tree_removes_nothing_outside(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    tree = tmp_path / "tree"
    tree.mkdir()
    plant(tree)
    os.mkfifo(tree / "fifo")
    (tree / "out").symlink_to("../kept")
    os.link(tmp_path / "kept" / "file", tree / "other name")
    remove_tree(tree)
    assert os.listdir(tmp_path) == ["kept"]
    assert os.listdir(tmp_path / "kept") == ["file"]


@pytest.mark.parametrize("name", ["missing", "missing/too"])
def test_remove_tree_missing_folder_is_no_error(tmp_path: Path, name: str) -> None:
    remove_tree(tmp_path / name)


@pytest.mark.parametrize("name", ["file", "link"])
def test_remove_tree_non_folder_raises(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside").touch()
    (tmp_path / "link").symlink_to("folder")
    with pytest.raises(FilesError, match="cannot be removed"):
        remove_tree(tmp_path / name)
    assert (tmp_path / "folder" / "inside").exists() and (tmp_path / name).exists()


@pytest.mark.parametrize("mode", [0, 0o400, 0o500, 0o300])
def test_remove_tree_inaccessible_folders_are_removed_by_owner(nobodys: Path, mode: int) -> None:
    def work() -> bool:
        shut = nobodys / "tree" / "shut"
        (shut / "below" / "below").mkdir(parents=True)
        (shut / "file").touch()
        for folder in (shut / "below" / "below", shut / "below", shut, nobodys / "tree"):
            folder.chmod(mode)
        remove_tree(nobodys / "tree")
        return (nobodys / "tree").exists()

    assert in_child(work, as_nobody=True) is False


def test_remove_tree_deeper_than_descriptor_limit_is_removed(tmp_path: Path) -> None:
    def work() -> bool:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        (tmp_path / "tree").mkdir()
        here = os.open(tmp_path / "tree", os.O_RDONLY)
        for _ in range(300):
            os.mkdir(b"d", dir_fd=here)
            below = os.open(b"d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        remove_tree(tmp_path / "tree")
        return (tmp_path / "tree").exists()

    assert in_child(work) is False


def test_remove_tree_files_still_being_written_are_removed(tmp_path: Path) -> None:
    """As by the extract worker of a restore that was killed."""
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    folder = os.open(tmp_path / "tree" / "sub", os.O_RDONLY)

    def write() -> None:
        for number in range(5_000):
            try:
                os.close(os.open(str(number), os.O_CREAT | os.O_WRONLY, dir_fd=folder))
            except FileNotFoundError:  # the folder is gone
                return

    writer = Thread(target=write)
    writer.start()
    try:
        remove_tree(tmp_path / "tree")
    finally:
        writer.join()
        os.close(folder)
    assert not (tmp_path / "tree").exists()
