"""Mount points below a tree, with real mounts in the mount namespace of a child process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from igny8_backup.trees.fs.linux import mounts_below
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
    plan_swap(root, make_staging(root, "20261122T021500Z"))
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
