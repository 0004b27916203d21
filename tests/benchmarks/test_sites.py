"""The changes that ``benchmarks.sites`` makes between backups."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from benchmarks.measure import Argv, RunFailed
from benchmarks.sites_changes import Nights, nights, put_back
from benchmarks.sites_checks import FilesCheck
from benchmarks.sites_data import content_of, name_of
from benchmarks.texts import Prose

pytestmark = pytest.mark.slow

COUNT = 40


def grow(root: Path) -> FilesCheck:
    """A small tree below ``root``, with its listing beside it."""
    prose = Prose()
    lines = []
    for number in range(COUNT):
        name = name_of(number, number // 10)
        content = content_of(name, prose)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
        os.utime(root / name, (1, 1))
        lines.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    listing = root.with_name(f"{root.name}.sha256")
    listing.write_text("".join(lines))
    return FilesCheck(listing)


def seen(root: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for path in root.rglob("*"):
        status = path.stat()
        times = (status.st_mtime_ns, status.st_size) if path.is_file() else (0, 0)
        found[str(path.relative_to(root))] = (status.st_ino, *times)
    return found


def test_nights_are_deterministic_and_undone(tmp_path: Path) -> None:
    left = []
    for name in ("one", "other"):
        root = tmp_path / name
        files = grow(root)
        before, wanted = seen(root), dict(files.wanted)
        work = Nights(root, files.wanted, settled=0)
        for night in (1, 2, 3):
            work.work(night)
            files.check_folder(root)
        assert len(files.wanted) == COUNT  # each night one new, one gone
        assert len(wanted.keys() - files.wanted.keys()) == 3
        assert any(wanted[name] != digest for name, digest in files.wanted.items() if name in wanted)
        left.append(dict(files.wanted))
        put_back(root, wanted)  # as the next run does where this one was killed
        assert seen(root) == before
        assert not root.with_name(f"{name}.before").exists()
    assert left[0] == left[1]


def test_nights_failing_restore_the_tree(tmp_path: Path) -> None:
    files = grow(tmp_path / "root")
    before, wanted = seen(tmp_path / "root"), dict(files.wanted)
    with pytest.raises(RunFailed), nights(tmp_path / "root", files.wanted, 0) as found:
        found.work(1)
        raise RunFailed("something else")
    assert seen(tmp_path / "root") == before
    assert files.wanted == wanted


def test_live_bytes_follow_from_the_index(tmp_path: Path) -> None:
    root, files = tmp_path / "root", grow(tmp_path / "root")
    earlier = tmp_path / "earlier"
    shutil.copytree(root, earlier)
    (earlier / name_of(0, 0)).write_bytes(b"as it was before")
    (earlier / "gone").write_bytes(b"gone")
    tars: list[list[Argv]] = [[("tar", "-C", folder, "-cf", "-", ".")] for folder in (earlier, root)]
    index = tmp_path / "index"

    def write_index(digests: dict[str, str]) -> None:
        records = [{"path": name, "kind": "file", "sha256": digest} for name, digest in digests.items()]
        index.write_text(
            "".join(json.dumps(record) + "\n" for record in [{"path": "", "kind": "dir"}, *records])
        )

    write_index(files.wanted)
    files.check_tars(tars, os.environ, index=[("cat", index)])
    with pytest.raises(RunFailed, match="1 files differ: .*gone"):
        files.check_tars(tars, os.environ)
    with pytest.raises(RunFailed, match="files differ"):
        files.check_tars(tars[:1], os.environ, index=[("cat", index)])
    write_index({**files.wanted, "gone": "0" * 64})
    with pytest.raises(RunFailed, match="1 files differ: .*gone"):
        files.check_tars(tars, os.environ, index=[("cat", index)])
