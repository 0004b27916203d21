"""Files whose status changed and whose size did not: hash workers compare their contents."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igny8_backup.errors import FilesError
from igny8_backup.streams import BLOCK
from igny8_backup.trees.archive.client import Report as ReadReport
from igny8_backup.trees.archive.hash_ahead import BATCH_FILES
from igny8_backup.trees.archive.hash_client import Hashers, Job, KnownFiles, Other
from igny8_backup.trees.archive.hash_worker import Hasher
from igny8_backup.trees.index.lines import FileLines, unchanged_prefixes
from igny8_backup.trees.model.entries import Files
from igny8_backup.trees.model.records import Record, to_line
from igny8_backup.trees.scan.listed_folders import ListedFolders
from igny8_backup.trees.scan.scan_ahead import ScanAhead
from tests.trees.archive.test_worker import job, read_and_report
from tests.trees.changes import CHANGES, Change, apply
from tests.trees.tools import Backup, look, restore_tree, take

pytestmark = pytest.mark.slow

LATER = 1_700_000_000 * 10**9


def touch_all(root: Path) -> None:
    for path in [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]:
        os.utime(path, ns=(LATER, LATER))


def without_marks(backup: Backup) -> list[Record]:
    """The records; whether a file is racy depends on the time of reading."""
    return [record._replace(racy=False) for record in backup.records]


def test_touched_tree_is_hashed_by_workers_and_nothing_is_stored(tmp_path: Path) -> None:
    """Times, modes and attributes are those of the new status; the contents stay in the first pack."""
    root = tmp_path / "root"
    for number in range(3 * BATCH_FILES):
        folder = root / f"{number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}").write_bytes(b"%d" % number * (number % 5))
    (root / "large").write_bytes(os.urandom(3 * BLOCK))
    with open(root / "sparse", "wb") as file:
        file.truncate(5 * BLOCK)
    os.link(root / "large", root / "linked")
    first = job(root, tmp_path / "first")
    packs, _ = read_and_report(first)
    touch_all(root)
    (root / "1" / "1").chmod(0o640)
    os.setxattr(root / "1" / "8", "user.note", b"new")
    (root / "2" / "9").write_bytes(
        b"8" * len((root / "2" / "9").read_bytes())
    )  # another content of this size
    with open(root / "sparse", "r+b") as file:
        file.seek(4 * BLOCK)
        file.write(b"x")
    second = job(root, tmp_path / "second", parent_index=first.index)
    stored, report = read_and_report(second)
    (pack,) = stored.values()
    assert pack.count(b"ustar") == 2 and b"./2/9\0" in pack and b"./sparse\0" in pack
    assert_equals_fresh(root, tmp_path, second.index, report, {*packs, *stored})
    again = job(root, tmp_path / "again", parent_index=second.index, checksum=True)
    assert read_and_report(again)[0] == {}


def assert_equals_fresh(root: Path, tmp_path: Path, index: str, report: ReadReport, packs: set[str]) -> None:
    """The index of an incremental backup equals that of a first backup, except for the names of packs."""
    fresh = job(root, tmp_path / "fresh")
    _, expected = read_and_report(fresh)
    assert (report.kinds, report.bytes) == (expected.kinds, expected.bytes)

    def lines(path: str) -> list[bytes]:
        found = Path(path).read_bytes().replace(b',"racy":true', b"").splitlines()
        return [line.partition(b',"pack":')[0] + line.rpartition(b'"')[2] for line in found]

    assert lines(index) == lines(fresh.index)
    assert report.live_bytes.keys() <= packs


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "root").mkdir()
        yield Path(folder) / "root"


@settings(max_examples=6, deadline=None)
@given(
    st.lists(CHANGES, min_size=3, max_size=10), st.lists(CHANGES, max_size=6), st.booleans(), st.booleans()
)
def test_backup_with_hash_workers_equals_backup_without(
    tree: Path, before: list[Change], after: list[Change], checksum: bool, rewrite: bool
) -> None:
    for path in tree.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for change in before:
        apply(tree, change)
    first = take(tree, limit=2000)
    touch_all(tree)
    for change in after:
        apply(tree, change)
    rewritten = sorted(first.packs)[:1] if rewrite else []
    options: dict[str, Any] = {"checksum": checksum, "packs_to_rewrite": rewritten}
    plain = take(tree, earlier=first, limit=2000, **options)
    with Hashers(Job(root=str(tree), packs_to_rewrite=tuple(rewritten))) as hashers:
        hashers.submit([]).result()  # from now on the workers are used for single files as well
        hashed = take(tree, earlier=first, limit=2000, scan=ScanAhead, hashers=hashers, **options)
    assert without_marks(hashed) == without_marks(plain)
    assert hashed.packs == plain.packs
    assert hashed.skipped == plain.skipped == []
    with tempfile.TemporaryDirectory() as folder:
        restore_tree(hashed, Path(folder, "staging"))
        assert look(Path(folder, "staging")) == look(tree)


def known(root: Path, name: str, backup: Backup) -> KnownFiles:
    """The file as it is listed now, and its line in the index of ``backup``."""
    found: list[KnownFiles] = []
    with closing(ScanAhead(root, on_skip=lambda path, reason: None)) as walk:
        for item in walk:
            if isinstance(item, Files):
                for number, path in enumerate(map(item.path, range(len(item.names)))):
                    if path == name.encode():
                        part = item.part(number, number + 1)
                        line = to_line(backup[path])
                        prefixes = unchanged_prefixes(part)
                        found.append(
                            KnownFiles(part.prefix, part.folders, part.names, part.rows, prefixes, [line])
                        )
    return found[0]


def replaced_by_symlink(root: Path) -> None:
    (root / "sub").rename(root.parent / "gone")
    (root / "sub").symlink_to(root.parent / "gone")


def replaced_folder(root: Path) -> None:
    (root / "sub").rename(root.parent / "gone")
    shutil.copytree(root.parent / "gone", root / "sub")


def fifo(root: Path) -> None:
    (root / "sub" / "large").unlink()
    os.mkfifo(root / "sub" / "large")


def vanished(root: Path) -> None:
    (root / "sub" / "large").unlink()


def touched(root: Path) -> None:
    os.utime(root / "sub" / "large")


@pytest.mark.parametrize("happens", [replaced_by_symlink, replaced_folder, fifo, vanished, touched])
def test_hasher_file_that_is_not_the_listed_one_is_left_to_the_archive_worker(
    tmp_path: Path, happens: Callable[[Path], None]
) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "large").write_bytes(b"x")
    backup = take(root)
    listed = known(root, "sub/large", backup)
    with closing(ListedFolders(os.open(root, os.O_RDONLY))) as folders:
        hasher = Hasher(folders, (), lambda: None)
        (found,) = hasher.compare(listed)
        assert isinstance(found, FileLines)
        happens(root)
    with closing(ListedFolders(os.open(root, os.O_RDONLY))) as folders:
        assert Hasher(folders, (), lambda: None).compare(listed) == [Other(0, store=False)]


def test_hasher_file_that_changes_while_it_is_read_is_left_to_the_archive_worker(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (3 * BLOCK))
    backup = take(tmp_path)
    time.sleep(0.02)  # the clock of file times is coarse

    def grow() -> None:
        with open(tmp_path / "large", "ab") as file:
            file.write(b"more")

    with closing(ListedFolders(os.open(tmp_path, os.O_RDONLY))) as folders:
        hasher = Hasher(folders, (), grow)
        assert hasher.compare(known(tmp_path, "large", backup)) == [Other(0, store=False)]


def test_hash_worker_killed_raises(tmp_path: Path) -> None:
    (tmp_path / "large").touch()
    with open(tmp_path / "large", "r+b") as file:
        file.truncate(1 << 40)  # it takes long enough
    backup = Backup(records=[record_of_large(tmp_path)])
    with Hashers(Job(root=str(tmp_path))) as hashers:
        found = hashers.submit([known(tmp_path, "large", backup)])
        (worker,) = hashers._workers
        os.kill(worker._child._process.pid, signal.SIGKILL)
        with pytest.raises(FilesError, match="hashes the files of .* ended before it was done"):
            found.result()
        with pytest.raises(FilesError):  # and no other batch waits for it
            for _ in range(hashers.limit + 1):
                hashers.submit([]).result()


def test_hashers_closed_early_stop_a_large_file(tmp_path: Path) -> None:
    (tmp_path / "large").touch()
    with open(tmp_path / "large", "r+b") as file:
        file.truncate(1 << 40)
    with Hashers(Job(root=str(tmp_path))) as hashers:
        hashers.submit([known(tmp_path, "large", Backup(records=[record_of_large(tmp_path)]))])


class _Seen(Exception):
    pass


def test_hashers_report_progress_while_they_read_a_large_file(tmp_path: Path) -> None:
    (tmp_path / "large").touch()
    with open(tmp_path / "large", "r+b") as file:
        file.truncate(1 << 40)

    def seen() -> None:
        raise _Seen

    with Hashers(Job(root=str(tmp_path))) as hashers:
        answer = hashers.submit([known(tmp_path, "large", Backup(records=[record_of_large(tmp_path)]))])
        with pytest.raises(_Seen):
            hashers.wait(answer, seen)


def record_of_large(root: Path) -> Record:
    status = (root / "large").stat()
    return Record(
        path=b"large", kind="file", mode=0o644, uid=0, gid=0, user="root", group="root", size=status.st_size,
        mtime_ns=1, ctime_ns=1, inode=1, sha256="0" * 64, pack="20261122T021500Z-7f3a9c-0001",
    )  # fmt: skip
