"""Owners, modes, times and extended attributes of restored files."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

import pytest

from igny8_backup.trees.fs.metadata import Metadata
from igny8_backup.trees.model.owners import Owners
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.model.xattrs import read_xattrs, set_xattrs
from tests.services import unavailable
from tests.trees.tools import ACL, IS_ROOT, look, never, restore_tree, take

only_root = pytest.mark.skipif(not IS_ROOT, reason="only root gives files away")

ASK = "--allow-set-id restores them"
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw+ep, version 2


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "file").write_bytes(b"contents")
    try:
        os.setxattr(folder, "user.test", b"1")
        os.removexattr(folder, "user.test")
    except OSError as error:
        unavailable(f"The filesystem of {tmp_path} has no extended attributes: {error}.")
    return folder


def test_metadata_set_id_bits_are_dropped_and_reported(root: Path, tmp_path: Path) -> None:
    (root / "file").chmod(0o6755)
    backup = take(root)
    assert backup[b"file"].mode == 0o6755
    reported = restore_tree(backup, tmp_path / "staging")
    assert stat.S_IMODE((tmp_path / "staging" / "file").stat().st_mode) == 0o755
    assert reported.skipped == [(b"file", f"its set-id bits were not set: {ASK}")]


def test_metadata_set_id_bits_allowed_are_set(root: Path, tmp_path: Path) -> None:
    (root / "file").chmod(0o6755)
    assert restore_tree(take(root), tmp_path / "staging", allow_set_id=True).skipped == []
    assert stat.S_IMODE((tmp_path / "staging" / "file").stat().st_mode) == 0o6755


def test_metadata_set_group_id_and_sticky_folders_are_set(root: Path, tmp_path: Path) -> None:
    (root / "shared").mkdir()
    (root / "shared").chmod(0o3775)
    assert restore_tree(take(root), tmp_path / "staging").skipped == []
    assert stat.S_IMODE((tmp_path / "staging" / "shared").stat().st_mode) == 0o3775


@only_root
def test_metadata_known_owner_name_is_used(root: Path, tmp_path: Path) -> None:
    """The user has another number here than on the machine of the backup."""
    backup = take(root)
    user = pwd.getpwnam("www-data")
    backup.records[1] = backup.records[1]._replace(
        uid=54321, user="www-data", gid=54322, group="no such group here"
    )
    restore_tree(backup, tmp_path / "staging")
    status = (tmp_path / "staging" / "file").stat()
    assert (status.st_uid, status.st_gid) == (user.pw_uid, 54322)


@pytest.mark.parametrize("name", ["", "no such user", "a\0b", "\ud800", "x" * 100_000])
def test_metadata_unknown_owner_name_uses_the_number(name: str) -> None:
    assert Owners().ids(name, 12345, name, 54321) == (12345, 54321)


def test_metadata_attributes_and_acls_are_set(root: Path, tmp_path: Path) -> None:
    (root / "folder").mkdir()
    for name in ("file", "folder"):
        os.setxattr(root / name, "user.origin", bytes(range(256)))
        os.setxattr(root / name, "user.empty", b"")
        os.setxattr(root / name, "system.posix_acl_access", ACL)
    os.setxattr(root / "folder", "system.posix_acl_default", ACL)
    backup = take(root)
    assert dict(backup[b"file"].xattrs).keys() == {"user.origin", "user.empty", "system.posix_acl_access"}
    assert restore_tree(backup, tmp_path / "staging").skipped == []
    assert look(tmp_path / "staging") == look(root)
    assert os.getxattr(tmp_path / "staging" / "folder", "system.posix_acl_default") == ACL


def test_metadata_default_acl_is_not_inherited_by_restored_files(root: Path, tmp_path: Path) -> None:
    (root / "folder").mkdir()
    (root / "folder" / "before").touch()  # has no ACL: it was there first
    os.setxattr(root / "folder", "system.posix_acl_default", ACL)
    restore_tree(take(root), tmp_path / "staging")
    assert os.listxattr(tmp_path / "staging" / "folder" / "before") == []


@only_root
def test_metadata_capabilities_are_dropped_unless_allowed(root: Path, tmp_path: Path) -> None:
    os.setxattr(root / "file", "security.capability", CAPABILITY)
    backup = take(root)
    reported = restore_tree(backup, tmp_path / "without")
    assert reported.skipped == [(b"file", f"its capabilities were not set: {ASK}")]
    assert os.listxattr(tmp_path / "without" / "file") == []
    assert restore_tree(backup, tmp_path / "with", allow_set_id=True).skipped == []
    assert os.getxattr(tmp_path / "with" / "file", "security.capability") == CAPABILITY


@only_root
def test_read_xattrs_machine_attributes_are_ignored(root: Path) -> None:
    os.setxattr(root / "file", "trusted.test", b"1")
    assert take(root)[b"file"].xattrs == ()


def test_metadata_refused_attributes_are_reported(tmp_path: Path, root: Path) -> None:
    reported: list[tuple[bytes, str]] = []
    record = Record(
        path=b"file", kind="file", mode=0o644, uid=os.getuid(), gid=os.getgid(), user="", group="", size=8,
        mtime_ns=5, ctime_ns=0, inode=1, xattrs=(("user." + "x" * 300, b"1"),),
    )  # fmt: skip
    fd = os.open(root / "file", os.O_RDONLY)
    Metadata(allow_set_id=False, on_skip=lambda path, reason: reported.append((path, reason))).apply(
        fd, record
    )
    os.close(fd)
    ((path, reason),) = reported
    assert path == b"file" and reason.startswith("its extended attributes cannot be set: ")
    assert (root / "file").stat().st_mtime_ns == 5


def test_set_xattrs_one_refused_sets_the_others(root: Path) -> None:
    fd = os.open(root, os.O_RDONLY)
    with pytest.raises(OSError):
        set_xattrs(fd, (("user." + "x" * 300, b"1"), ("user.z", b"2")))
    assert read_xattrs(fd) == (("user.z", b"2"),)
    os.close(fd)


def test_set_xattrs_replaces_and_removes_others(root: Path) -> None:
    os.setxattr(root, "user.gone", b"1")
    os.setxattr(root, "user.changed", b"1")
    fd = os.open(root, os.O_RDONLY)
    wanted = (("user.changed", b"2"), ("user.new", b"3"))
    set_xattrs(fd, wanted)
    assert read_xattrs(fd) == wanted
    os.close(fd)


def test_metadata_other_owner_is_counted_only_without_root(root: Path, tmp_path: Path) -> None:
    metadata = Metadata(allow_set_id=False, on_skip=never)
    record = take(root).records[0]
    fd = os.open(root, os.O_RDONLY)
    metadata.apply(fd, record._replace(uid=54321, user="") if IS_ROOT else record)
    assert os.fstat(fd).st_uid == (54321 if IS_ROOT else os.getuid())
    assert metadata.owners_left == 0
    os.close(fd)
