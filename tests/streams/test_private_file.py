"""Private files: mode, name and errors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from igny8_backup.errors import FilesError
from igny8_backup.streams.private_file import memory_file, private_file


def test_private_file_is_private_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "scratch"
    with private_file(folder) as (file, path):
        file.write(b"content")
        file.flush()
        assert Path(path).read_bytes() == b"content"
        assert os.fstat(file.fileno()).st_mode & 0o777 == 0o600
        assert folder.stat().st_mode & 0o777 == 0o700
        assert list(folder.iterdir()) == [], "the file has no name"
    assert list(folder.iterdir()) == []


def test_private_file_in_unusable_folder_raises(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    raises = pytest.raises(FilesError, match="No private file could be created.*SCRATCH_DIR")
    with raises, private_file(tmp_path / "file" / "below"):
        pass


def test_memory_file_is_on_disk_where_the_kernel_refuses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(name: str) -> int:
        raise PermissionError(13, "Permission denied")

    with memory_file([b"one", b"two"], tmp_path) as (fd, path):
        assert Path(path).read_bytes() == b"onetwo" and os.fstat(fd).st_mode & 0o777 == 0o600
    monkeypatch.setattr(os, "memfd_create", refused)
    with memory_file([b"one", b"two"], tmp_path) as (fd, path):
        assert Path(path).read_bytes() == b"onetwo" and os.fstat(fd).st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == []
