"""The walk over a tree, in this process and in the scanner process."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import cast

import pytest

from igny8_backup.errors import FilesError
from igny8_backup.trees.fs.linux import exchange_names
from igny8_backup.trees.model.entries import Entry, Files, Row, Status
from igny8_backup.trees.model.names import DEPTH_LIMIT
from igny8_backup.trees.model.owners import Owners
from igny8_backup.trees.model.skips import (
    IS_LOST_AND_FOUND,
    IS_OURS,
    NO_FAILURE,
    REPLACED,
    VANISHED,
    OnSkip,
    why,
)
from igny8_backup.trees.scan.scan import Scan
from igny8_backup.trees.scan.scan_ahead import ScanAhead
from tests.descriptors import limit_with_free
from tests.trees.tools import IS_ROOT, NOBODY, in_child, never

Scanning = Callable[..., Iterator[Entry]]


def children() -> list[int]:
    """Return the ids of the running child processes of this process, from proc(5)."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = file.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                found.append(int(file.parent.name))
    return found


@pytest.fixture(params=[Scan, ScanAhead])
def kind(request: pytest.FixtureRequest) -> type[Scan]:
    found: type[Scan] = request.param
    return found


@pytest.fixture
def scan(kind: type[Scan]) -> Scanning:
    def entries(root: Path, *, on_skip: OnSkip, own: Collection[bytes] = ()) -> Iterator[Entry]:
        with closing(kind(root, on_skip=on_skip, own=own)) as walk:
            yield from walk.entries()

    return entries


def paths(scan: Scanning, root: Path) -> list[bytes]:
    skipped: list[tuple[bytes, str]] = []
    found = [entry.path for entry in scan(root, on_skip=lambda path, reason: skipped.append((path, reason)))]
    assert skipped == []
    return found


def opened(walk: Scan, entry: Entry) -> int:
    """A descriptor of a file that the scan has just yielded."""
    folder, slash, name = entry.path.rpartition(b"/")
    folders = walk.listed(folder + slash) if isinstance(walk, ScanAhead) else ()
    row = cast(Row, tuple(entry.status))
    return walk.open_file(Files(folder + slash, [name], [row], Owners(), folders), 0)


def test_scan_order_is_depth_first(tmp_path: Path, scan: Scanning) -> None:
    for name in ("a/x", "a.b/x", "a!", "b", "a/y/z", "a/y.z"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert paths(scan, tmp_path) == [
        b"", b"a", b"a/x", b"a/y", b"a/y/z", b"a/y.z", b"a!", b"a.b", b"a.b/x", b"b",
    ]  # fmt: skip


def test_scan_entry_equals_lstat(tmp_path: Path, scan: Scanning) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "file").chmod(0o2751)
    os.utime(tmp_path / "file", ns=(1, -999_999_999))
    (tmp_path / "link").symlink_to("somewhere")
    root, file, link = scan(tmp_path, on_skip=never)
    status = os.lstat(tmp_path / "file")
    assert (root.kind, file.kind, link.kind, link.target) == ("dir", "file", "symlink", b"somewhere")
    assert (file.mode, file.status) == (0o2751, Status.of(status))
    assert (file.status.size, file.status.mtime_ns) == (5, -999_999_999)
    if IS_ROOT:
        assert file.owner == (0, 0, "root", "root")


@pytest.mark.skipif(not IS_ROOT, reason="only root gives files away")
def test_scan_unknown_owner_has_no_name(tmp_path: Path, scan: Scanning) -> None:
    (tmp_path / "file").touch()
    os.chown(tmp_path / "file", 3_999_999_999, 3_999_999_998)
    *_, file = scan(tmp_path, on_skip=never)
    assert (file.owner.uid, file.owner.user, file.owner.gid, file.owner.group) == (
        3_999_999_999,
        "",
        3_999_999_998,
        "",
    )


def test_scan_special_files_are_skipped_without_failure(tmp_path: Path, scan: Scanning) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(tmp_path, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/socket")  # the path of a socket is at most 107 bytes
        os.close(here)
        skipped: dict[bytes, str] = {}
        assert [e.path for e in scan(tmp_path, on_skip=skipped.__setitem__)] == [b""]
    assert skipped == {b"fifo": "a FIFO", b"socket": "a socket"}
    assert set(skipped.values()) <= NO_FAILURE


@pytest.mark.skipif(not IS_ROOT, reason="only root makes devices")
def test_scan_devices_are_skipped(tmp_path: Path, scan: Scanning) -> None:
    os.mknod(tmp_path / "null", 0o20666, os.makedev(1, 3))
    skipped: dict[bytes, str] = {}
    assert [entry.path for entry in scan(tmp_path, on_skip=skipped.__setitem__)] == [b""]
    assert skipped == {b"null": "a device"}


def test_scan_folders_of_restores_are_skipped_others_with_such_names_are_not(
    tmp_path: Path, scan: Scanning
) -> None:
    for name in (
        ".before-20261122T021500Z",
        ".before-20201122T021500Z",
        ".igny8_backup-moving-1",
        ".igny8_backup-side-20261122T021500Z",
        "sub/.before-20261122T021500Z",
    ):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    skipped: dict[bytes, str] = {}
    own = {b".before-20261122T021500Z", b".igny8_backup-side-20261122T021500Z"}
    found = [entry.path for entry in scan(tmp_path, on_skip=skipped.__setitem__, own=own)]
    assert [path for path in found if path.endswith(b"file")] == [
        b".before-20201122T021500Z/file", b".igny8_backup-moving-1/file", b"sub/.before-20261122T021500Z/file"
    ]  # fmt: skip
    assert skipped == dict.fromkeys(own, IS_OURS)


@pytest.mark.skipif(not IS_ROOT, reason="only root owns lost+found")
def test_scan_lost_and_found_of_the_file_system_is_skipped(tmp_path: Path, scan: Scanning) -> None:
    lost = tmp_path / "lost+found"
    lost.mkdir(mode=0o755)
    (lost / "file").touch()
    assert b"lost+found/file" in paths(scan, tmp_path), "a folder that others may enter is somebody's"
    os.chown(lost, NOBODY, NOBODY)
    lost.chmod(0o700)
    assert b"lost+found/file" in paths(scan, tmp_path)
    os.chown(lost, 0, 0)
    assert b"lost+found/file" in paths(scan, tmp_path), "a container may run the application as root"
    (lost / "file").unlink()
    skipped: dict[bytes, str] = {}
    assert [entry.path for entry in scan(tmp_path, on_skip=skipped.__setitem__)] == [b""]
    assert skipped == {b"lost+found": IS_LOST_AND_FOUND} and IS_LOST_AND_FOUND in NO_FAILURE


@pytest.mark.parametrize("name", ["missing", "file"])
def test_scan_root_that_is_no_folder_raises(tmp_path: Path, name: str, scan: Scanning) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FilesError, match="cannot be read"):
        next(scan(tmp_path / name, on_skip=never))


def test_scan_root_may_be_a_symlink(tmp_path: Path, scan: Scanning) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").touch()
    (tmp_path / "root").symlink_to("real")
    assert paths(scan, tmp_path / "root") == [b"", b"file"]


def test_scan_unreadable_entries_are_skipped(nobodys: Path, scan: Scanning, kind: type[Scan]) -> None:
    if kind is ScanAhead and IS_ROOT:
        pytest.skip("Another user may not be able to start this interpreter.")
    for name in ("closed/file", "listed/file", "open/file"):
        (nobodys / name).parent.mkdir()
        (nobodys / name).touch()
    (nobodys / "closed").chmod(0)
    (nobodys / "listed").chmod(0o744)  # others may list its names, and nothing else
    if not IS_ROOT:
        (nobodys / "listed").chmod(0o400)

    def work() -> tuple[list[bytes], dict[bytes, str]]:
        reported: dict[bytes, str] = {}
        return [entry.path for entry in scan(nobodys, on_skip=reported.__setitem__)], reported

    found, skipped = in_child(work, as_nobody=True)
    assert found == [b"", b"closed", b"listed", b"open", b"open/file"]
    assert skipped == {
        b"closed": "cannot be read: Permission denied",
        b"listed/file": "cannot be read: Permission denied",
    }


def test_scan_vanished_entries_are_skipped(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).touch()
    skipped: dict[bytes, str] = {}
    found = []
    with closing(Scan(tmp_path, on_skip=skipped.__setitem__)) as walk:
        for entry in walk.entries():
            found.append(entry.path)
            (tmp_path / "b").unlink(missing_ok=True)
    assert found == [b"", b"a", b"c"]
    assert skipped == {b"b": VANISHED}


@pytest.mark.slow
def test_scan_folder_replaced_by_symlink_is_not_followed(tmp_path: Path, scan: Scanning) -> None:
    """A thread exchanges a folder and a symlink to a secret as fast as it can while the tree is scanned."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "secret").touch()
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "file").touch()
    (tmp_path / "folder").symlink_to(tmp_path / "secrets")
    stop = threading.Event()

    def flip() -> None:
        one, other = (os.open(folder, os.O_RDONLY) for folder in (root, tmp_path))
        while not stop.is_set():
            if not exchange_names(one, other, b"folder"):
                break
        os.close(one)
        os.close(other)

    thread = threading.Thread(target=flip)
    thread.start()
    seen: set[tuple[bytes, str]] = set()
    wanted = {(b"folder", "symlink"), (b"folder", "dir"), (b"folder", "replaced")}
    end = time.monotonic() + 5
    try:
        while time.monotonic() < end and not wanted <= seen:
            for entry in scan(root, on_skip=lambda path, reason: seen.add((path, reason.split()[0]))):
                seen.add((entry.path, entry.kind))
    finally:
        stop.set()
        thread.join()
    assert (b"folder", "symlink") in seen and (b"folder", "dir") in seen
    assert b"folder/secret" not in {path for path, _ in seen}


def test_scan_deeper_than_limit_is_cut_and_reported(tmp_path: Path, scan: Scanning) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(DEPTH_LIMIT + 20):
        os.mkdir(b"d", dir_fd=here)
        below = os.open(b"d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    skipped: dict[bytes, str] = {}
    found = [entry.path for entry in scan(tmp_path, on_skip=skipped.__setitem__)]
    assert len(found) == DEPTH_LIMIT + 1
    assert skipped == {found[-1]: f"its contents lie deeper than {DEPTH_LIMIT} folders"}


def test_open_file_replaced_folder_is_not_followed(tmp_path: Path, kind: type[Scan]) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_bytes(b"contents")
    (tmp_path / "elsewhere").write_bytes(b"other")
    with closing(kind(tmp_path, on_skip=never)) as walk:
        for entry in walk.entries():
            if entry.path == b"sub/file":
                fd = opened(walk, entry)
                assert os.read(fd, 100) == b"contents"
                os.close(fd)
                (tmp_path / "sub" / "file").unlink()
                (tmp_path / "sub" / "file").symlink_to("../elsewhere")
                with pytest.raises(OSError, match="symbolic links"):
                    opened(walk, entry)


def test_scan_left_early_closes_descriptors(tmp_path: Path, kind: type[Scan]) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    before = set(children())
    with closing(kind(tmp_path, on_skip=never)) as walk:
        for entry in walk.entries():
            if entry.path == b"a/b":
                break
    assert list(walk) == []
    assert set(children()) <= before


def test_scanner_process_folder_that_vanished_skips_its_files(tmp_path: Path) -> None:
    (tmp_path / "a" / "sub").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "a", tmp_path / "a" / "sub"):
        (folder / "file").touch()
    with closing(ScanAhead(tmp_path, on_skip=never)) as walk:
        entries = walk.entries()
        assert next(entries).path == b""  # received together with all other entries: they are few
        shutil.rmtree(tmp_path / "a")
        for entry in entries:
            if entry.kind == "dir":
                assert walk.folder_fd(entry) is None
            elif entry.path == b"file":
                os.close(opened(walk, entry))
            else:
                with pytest.raises(FileNotFoundError):
                    opened(walk, entry)
        assert entry.path == b"file"


def test_scanner_process_replaced_folder_skips_its_files(tmp_path: Path) -> None:
    """The same for the root of a tree that a symlink names."""
    for name in ("one/d", "other/d"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text(name)
        (tmp_path / name).with_name("file").write_text(name)
    (tmp_path / "root").symlink_to("one")
    with closing(ScanAhead(tmp_path / "root", on_skip=never)) as walk:
        entries = walk.entries()
        assert next(entries).path == b""
        (tmp_path / "root").unlink()
        (tmp_path / "root").symlink_to("other")
        (tmp_path / "one/d").rename(tmp_path / "gone")
        (tmp_path / "other/d").rename(tmp_path / "one/d")
        for entry in entries:
            if entry.path == b"file":
                with open(opened(walk, entry), "rb") as file:
                    assert file.read() == b"one/d"
            elif entry.path == b"d/file":
                with pytest.raises(OSError) as caught:
                    opened(walk, entry)
                assert why(caught.value) == REPLACED


def test_scanner_process_that_cannot_start_raises(tmp_path: Path) -> None:
    def work() -> str:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit_with_free(2), hard))  # the root, and half a pipe
        try:
            list(ScanAhead(tmp_path, on_skip=never))
        except FilesError as error:
            return str(error)
        return ""

    assert re.search("cannot be started: .*: Too many open files", in_child(work))


def test_scanner_process_error_is_raised(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    before = set(children())
    reported = r"failed: MemoryError\(\)\. This tree is not in the backup"
    with (
        closing(ScanAhead(tmp_path, on_skip=never, excluded=fail)) as walk,
        pytest.raises(FilesError, match=reported),
    ):
        list(walk)
    assert set(children()) <= before


def fail(path: bytes, is_folder: bool) -> bool:
    raise MemoryError


def test_scanner_process_many_entries_are_all_received(tmp_path: Path) -> None:
    for folder in range(20):
        (tmp_path / f"{folder:02}").mkdir()
        for file in range(folder * 7):
            (tmp_path / f"{folder:02}" / f"{file:03}").touch()
    with closing(Scan(tmp_path, on_skip=never)) as one, closing(ScanAhead(tmp_path, on_skip=never)) as other:
        assert list(one.entries()) == list(other.entries())


@pytest.mark.parametrize("when", [0, 1])
def test_scanner_process_killed_raises(tmp_path: Path, when: int) -> None:
    for number in range(5000):
        (tmp_path / f"{number:04}").touch()
    before = set(children())
    with closing(ScanAhead(tmp_path, on_skip=never)) as walk:
        entries = walk.entries()
        next(entries)
        (process,) = set(children()) - before
        time.sleep(when)  # 1: the process waits until a batch is read
        os.kill(process, signal.SIGKILL)
        with pytest.raises(FilesError, match=r"ended before it was done \(exit status -9\)"):
            list(entries)


def test_scanner_process_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    for number in range(5000):
        (tmp_path / f"{number:04}").touch()
    script = """
import contextlib, pathlib, sys
from igny8_backup.trees.scan.scan_ahead import ScanAhead
with contextlib.closing(ScanAhead(pathlib.Path(sys.argv[1]), on_skip=print)) as walk:
    next(iter(walk))
    (folder,) = pathlib.Path("/proc/self/task").iterdir()
    print((folder / "children").read_text(), flush=True)
    sys.stdin.read()
"""
    argv = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        walker = int(parent.stdout.readline())
        assert os.getsid(walker) == walker  # so the terminal's Ctrl-C reaches the parent only
        parent.kill()
        assert (
            parent.stdout.read() == b""
        )  # its end is seen although the scanner process may live a moment longer
    with suppress(FileNotFoundError):
        while ") Z " not in Path(f"/proc/{walker}/stat").read_text():
            time.sleep(0.01)
