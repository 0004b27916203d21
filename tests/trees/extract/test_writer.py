"""Trees written from packs and records, well-formed and malformed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.errors import BackupError, FilesError, IntegrityError
from igny8_backup.trees.extract.check import check_pack
from igny8_backup.trees.extract.writer import TreeWriter
from igny8_backup.trees.model.owners import Owner
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.tar.format import END, FILE, header, padding
from tests.trees.tools import IS_ROOT, in_child, look, never, restore_tree, stream, take

ROOT = Record(
    path=b"", kind="dir", mode=0o755, uid=os.getuid(), gid=os.getgid(), user="", group="",
    size=0, mtime_ns=0, ctime_ns=0, inode=1,
)  # fmt: skip


def file(path: bytes, contents: bytes, **fields: Any) -> Record:
    digest = hashlib.sha256(contents).hexdigest()
    made = ROOT._replace(path=path, kind="file", mode=0o644, size=len(contents), sha256=digest, pack="1")
    return made._replace(**fields)


def pack(**files: bytes) -> bytes:
    return b"".join(
        header(b"./" + name.encode(), FILE, mode=0o644, owner=Owner(0, 0, "", ""), mtime_ns=0, size=len(data))
        + data
        + bytes(padding(len(data)))
        for name, data in files.items()
    ) + END  # fmt: skip


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    (tmp_path / "staging").mkdir()
    (tmp_path / "outside").mkdir()
    return tmp_path / "staging"


def written(
    staging: Path, data: bytes, records: list[Record], tree: list[Record] | None = None
) -> TreeWriter:
    with closing(TreeWriter(staging, on_skip=never)) as writer:
        writer.extract_pack(stream(data, 700), records)
        if tree is not None:
            writer.finish(tree)
    return writer


def refused(
    staging: Path, kind: type[BackupError], act: Callable[[], object], match: str | None = None
) -> None:
    """Assert that ``act`` raises, and that nothing was written outside the staging folder."""
    with pytest.raises(kind, match=match):
        act()
    assert os.listdir(staging.parent / "outside") == []
    assert sorted(os.listdir(staging.parent)) == ["outside", "staging"]


def test_writer_pack_writes_files_and_folders(staging: Path) -> None:
    with closing(TreeWriter(staging, on_skip=never)) as writer:
        data = pack(**{"a": b"one", "d/e/f": b"x" * 2000})
        writer.extract_pack(stream(data), [file(b"a", b"one"), file(b"d/e/f", b"x" * 2000)])
    assert (staging / "a").read_bytes() == b"one"
    assert (staging / "d" / "e" / "f").read_bytes() == b"x" * 2000
    assert (writer.files, writer.bytes) == (2, 2003)


def test_writer_file_renamed_and_copied_is_written_under_its_paths(staging: Path) -> None:
    """Also if it changed while it was backed up: the second member of the same name counts."""
    data = pack(a=b"old")[: -len(END)] + pack(a=b"one", b=b"two")
    records = [
        file(b"z", b"one", member=b"a", mode=0),
        file(b"d/copy", b"one", member=b"a"),
        file(b"b", b"two"),
        file(b"a", b"two", member=b"b"),
    ]
    writer = written(staging, data, records)
    assert (staging / "d" / "copy").read_bytes() == (staging / "z").read_bytes() == b"one"
    assert (staging / "a").read_bytes() == (staging / "b").read_bytes() == b"two"
    assert stat.S_IMODE((staging / "z").stat().st_mode) == 0
    assert (writer.files, writer.bytes) == (4, 15)
    check_pack(stream(data), records)


@pytest.mark.parametrize(
    "records",
    [
        [file(b"a", b"one"), file(b"b", b"two", member=b"a")],
        [file(b"a", b"one"), file(b"b", b"one", member=b"c")],
        [file(b"a", b"one", member=b"z"), file(b"b", b"one", member=b"z"), file(b"c", b"one", member=b"zz")],
    ],
)
def test_writer_renamed_file_that_the_pack_does_not_hold_is_refused(
    staging: Path, records: list[Record]
) -> None:
    data = pack(a=b"one", z=b"one")
    refused(staging, IntegrityError, lambda: written(staging, data, records))
    with pytest.raises(IntegrityError):
        check_pack(stream(data), records)


def test_writer_before_finish_folders_are_private(staging: Path) -> None:
    written(staging, pack(**{"d/f": b""}), [file(b"d/f", b"", mode=0o640)])
    assert stat.S_IMODE((staging / "d").stat().st_mode) == 0o700
    assert stat.S_IMODE((staging / "d" / "f").stat().st_mode) == 0o640


def test_writer_member_without_record_is_skipped(staging: Path) -> None:
    written(staging, pack(a=b"dead", b=b"alive", c=b"dead"), [file(b"b", b"alive")])
    assert os.listdir(staging) == ["b"]


@pytest.mark.parametrize("missing", [b"0", b"aa", b"z"])
def test_writer_record_without_member_raises(staging: Path, missing: bytes) -> None:
    data, records = pack(a=b"a", b=b"b"), [file(b"a", b"a"), file(b"b", b"b"), file(missing, b"")]
    records.sort(key=lambda record: record.path)
    refused(staging, IntegrityError, lambda: written(staging, data, records), "does not hold the file")


def test_writer_other_size_raises_before_writing(staging: Path) -> None:
    refused(
        staging, IntegrityError, lambda: written(staging, pack(a=b"12"), [file(b"a", b"1")]), "another size"
    )
    assert os.listdir(staging) == []


@pytest.mark.parametrize("others", ["", "b", "bc"])
def test_writer_other_digest_raises_whatever_follows(staging: Path, others: str) -> None:
    data = pack(a=b"evil", **dict.fromkeys(others, b"x"))
    records = [file(b"a", b"good"), *(file(name.encode(), b"x") for name in others)]
    refused(staging, IntegrityError, lambda: written(staging, data, records), "'a' .* SHA-256")


@pytest.mark.parametrize("first", [b"older", b"another size", b"newer"])
def test_writer_two_members_of_a_file_keeps_the_second(staging: Path, first: bytes) -> None:
    data = pack(**{"d/a": first})[: -len(END)] + pack(**{"d/a": b"newer", "d/b": b"b"})
    writer = written(staging, data, [file(b"d/a", b"newer", mode=0o600), file(b"d/b", b"b")])
    assert ((staging / "d" / "a").read_bytes(), writer.files) == (b"newer", 2)


@pytest.mark.parametrize("last", [b"older", b"another size"])
def test_writer_second_member_with_other_digest_raises(staging: Path, last: bytes) -> None:
    data = pack(a=b"newer")[: -len(END)] + pack(a=last, b=b"b")
    refused(
        staging,
        IntegrityError,
        lambda: written(staging, data, [file(b"a", b"newer"), file(b"b", b"b")]),
        "'a'",
    )


def test_writer_pack_truncated_after_last_needed_file_raises(staging: Path) -> None:
    data = pack(a=b"a", b=b"b")
    for end in range(1024, len(data), 512):
        root = staging / str(end)
        root.mkdir()
        refused(staging, IntegrityError, lambda: written(root, data[:end], [file(b"a", b"a")]))  # noqa: B023 - called at once


def test_writer_existing_file_is_not_overwritten(staging: Path) -> None:
    (staging / "a").write_bytes(b"mine")
    refused(
        staging, FilesError, lambda: written(staging, pack(a=b"new"), [file(b"a", b"new")]), "File exists"
    )
    assert (staging / "a").read_bytes() == b"mine"


@pytest.mark.parametrize("where", ["folder", "file"])
def test_writer_symlink_in_the_path_is_not_followed(staging: Path, where: str) -> None:
    """``index.read`` refuses such a tree, but the writer does not rely on that."""
    if where == "folder":
        (staging / "d").symlink_to("../outside")
    else:
        (staging / "d").mkdir()
        (staging / "d" / "f").symlink_to("../../outside/f")
    refused(staging, FilesError, lambda: written(staging, pack(**{"d/f": b"x"}), [file(b"d/f", b"x")]))


def test_writer_symlink_that_is_also_a_folder_raises(staging: Path) -> None:
    link = ROOT._replace(path=b"d", kind="symlink", target=b"../outside")
    below = ROOT._replace(path=b"d/e", kind="dir")
    refused(staging, FilesError, lambda: written(staging, pack(), [], [ROOT, link, below]))
    again = ROOT._replace(path=b"d", kind="dir")
    refused(staging, FilesError, lambda: written(staging, pack(), [], [ROOT, again]))


def test_writer_hard_link_to_the_outside_raises(staging: Path) -> None:
    (staging.parent / "outside" / "secret").touch()
    link = ROOT._replace(path=b"d", kind="symlink", target=b"../outside")
    hard = ROOT._replace(path=b"e", kind="hardlink", target=b"d/secret")
    with pytest.raises(BackupError):
        written(staging, pack(), [], [ROOT, link, hard])
    assert (staging.parent / "outside" / "secret").stat().st_nlink == 1
    assert os.listdir(staging) == ["d"]


@pytest.mark.parametrize("target", [b"d", b"missing", b"link", b"missing/f"])
def test_writer_hard_link_to_a_non_file_raises(staging: Path, target: bytes) -> None:
    tree = [
        ROOT,
        ROOT._replace(path=b"d", kind="dir"),
        ROOT._replace(path=b"link", kind="symlink", target=b"d"),
    ]
    tree.append(ROOT._replace(path=b"z", kind="hardlink", target=target))
    refused(staging, IntegrityError, lambda: written(staging, pack(), [], tree))


def test_finish_file_missing_from_all_packs_raises(staging: Path) -> None:
    tree = [ROOT, file(b"a", b"a"), file(b"b", b"b", pack="2")]
    refused(
        staging, IntegrityError, lambda: written(staging, pack(a=b"a"), tree[1:2], tree), "none of the packs"
    )


@pytest.mark.parametrize(
    "reported, brought",
    [(file(b"a", b"other"), b"a"), (file(b"d", b"x"), b"d/f"), (file(b"d/f", b"x"), b"d")],
)
def test_finish_file_of_other_size_raises(staging: Path, reported: Record, brought: bytes) -> None:
    """``extract_pack`` gets other records than ``finish``."""
    tree = (
        [ROOT, ROOT._replace(path=b"d", kind="dir")]
        if reported.path == b"d/f" and brought != b"d"
        else [ROOT]
    )
    data = pack(**{brought.decode(): b"x"})
    refused(staging, BackupError, lambda: written(staging, data, [file(brought, b"x")], [*tree, reported]))


def test_writer_missing_staging_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(FilesError):
        TreeWriter(tmp_path / "missing", on_skip=never)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(FilesError):
        TreeWriter(tmp_path / "link", on_skip=never)


def test_finish_staging_folder_keeps_its_mode(staging: Path) -> None:
    staging.chmod(0o700)
    written(staging, pack(), [], [ROOT._replace(mode=0o755)])
    assert stat.S_IMODE(staging.stat().st_mode) == 0o700


def test_sparse_file_runs_of_zeros_become_holes(staging: Path) -> None:
    contents = b"x" * 10_000 + bytes(3_000_000) + b"y" + bytes(100) + b"z" + bytes(70_000)
    for block in (999, 65_536, 1 << 20):
        root = staging / str(block)
        root.mkdir()
        with closing(TreeWriter(root, on_skip=never)) as writer:
            writer.extract_pack(stream(pack(a=contents), block), [file(b"a", contents)])
        assert (root / "a").read_bytes() == contents
        if block >= 65_536:
            assert (root / "a").stat().st_blocks * 512 < 220_000


def test_writer_disk_full_raises_and_says_what_is_unchanged(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: the kernel refuses the write."""
    import resource
    import signal

    staging = tmp_path / "staging"
    staging.mkdir()

    def work() -> str:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        with pytest.raises(FilesError) as raised:
            written(staging, pack(a=b"x" * 5000), [file(b"a", b"x" * 5000)])
        return str(raised.value)

    message = in_child(work)
    assert isinstance(message, str)
    assert (
        "'a' cannot be written to the staging folder: File too large. The live tree was not changed."
        in message
    )


def test_finish_hard_link_into_finished_folder_is_made(tmp_path: Path, nobodys: Path) -> None:
    def work() -> bool:
        root = nobodys / "root"
        (root / "a").mkdir(parents=True)
        (root / "a" / "f").write_bytes(b"x")
        os.link(root / "a" / "f", root / "z")
        backup = take(root)
        backup.records[1] = backup.records[1]._replace(mode=0o311)  # may be entered, not listed
        restore_tree(backup, nobodys / "staging")
        (nobodys / "staging" / "a").chmod(0o755)
        return os.path.samefile(nobodys / "staging" / "a" / "f", nobodys / "staging" / "z")

    assert in_child(work, as_nobody=True) is True


@pytest.mark.skipif(not IS_ROOT, reason="only root backs up what is not its own")
def test_writer_without_root_counts_owners_left(nobodys: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").touch()
    (root / "link").symlink_to("file")
    backup = take(root)

    def work() -> int:
        staging = nobodys / "staging"
        staging.mkdir()
        with closing(TreeWriter(staging, on_skip=never)) as writer:
            (data,) = backup.packs.values()
            writer.extract_pack(stream(data), [backup[b"file"]])
            writer.finish(backup.records)
        return writer.owners_left

    assert in_child(work, as_nobody=True) == 2
    assert look(nobodys / "staging").keys() == {b"file", b"link"}
