"""Mount points below a tree, with real mounts in the mount namespace of a child process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from igny8_backup.trees.fs import linux
from igny8_backup.trees.fs.linux import mounts_below, mounts_of
from tests.services import unavailable

SCRIPT = """
import sys
from pathlib import Path
from igny8_backup.errors import FilesError
from igny8_backup.trees.fs.linux import mounts_below
from igny8_backup.trees.swap.plan import plan_swap
from igny8_backup.trees.swap.target import make_staging

root = Path(sys.argv[1])
print(mounts_below(root))
try:
    plan_swap(root, make_staging(root, "20261122T021500Z").path)
except FilesError as error:
    print(error)
"""


def in_namespace(root: Path, mount: str) -> str:
    if shutil.which("unshare") is None:
        unavailable("unshare is not installed.")
    run = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-ec", f'{mount}; exec "$PY" -c "$SCRIPT" "$ROOT"'],
        env={**os.environ, "PY": sys.executable, "SCRIPT": SCRIPT, "ROOT": str(root)},
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    if "unshare" in run.stderr:
        unavailable(f"No mount namespaces here: {run.stderr.strip()}.")
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_plan_swap_mounted_child_raises(tmp_path: Path) -> None:
    (tmp_path / "cache one").mkdir()
    output = in_namespace(tmp_path, 'mount -t tmpfs none "$ROOT/cache one"')
    assert output.splitlines()[0] == repr([os.fsencode(tmp_path / "cache one")])
    assert "is a mount point below it. The live tree was not changed." in output


def test_plan_swap_bind_mount_deep_below_raises(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    output = in_namespace(tmp_path, 'mount --bind "$ROOT/c" "$ROOT/a/b"')
    assert f"'{tmp_path}/a/b' is a mount point below it" in output


def test_plan_swap_mounted_root_is_accepted(tmp_path: Path) -> None:
    output = in_namespace(tmp_path, 'mount -t tmpfs none "$ROOT"')
    assert output == "[]\n"


def test_mounts_below_lists_proc_only_below_its_parents() -> None:
    assert b"/proc" in mounts_below(Path("/"))
    assert mounts_below(Path("/pro")) == []


def test_mounts_of_names_the_nearest_mount_above_and_those_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw",
        f"2 1 0:5 /vol {tmp_path} rw - ext4 /dev/sdb1 rw",
        f"3 1 0:6 / {tmp_path} rw shared:1 - nfs4 server:/export rw",
        f"4 3 0:7 / {tmp_path}/a\\040b rw - tmpfs tmpfs rw",
        f"5 1 0:8 / {tmp_path}-other rw - proc proc rw",
    ]
    (tmp_path / "mountinfo").write_text("\n".join(lines))
    monkeypatch.setattr(linux, "_MOUNTS", tmp_path / "mountinfo")
    point = os.fsencode(tmp_path)
    above = b"nfs4 server:/export on " + point
    assert mounts_of(tmp_path) == {b"": above, b"a b": b"tmpfs on " + point + b"/a\\040b"}
    (tmp_path / "c").mkdir()
    assert mounts_of(tmp_path / "c") == {b"": above}
    (tmp_path / "mountinfo").write_text("\n".join(lines[:2]))
    assert mounts_of(tmp_path) == {b"": b"ext4 (folder /vol) on " + point}
    (tmp_path / "mountinfo").unlink()
    assert mounts_of(tmp_path) == {}
