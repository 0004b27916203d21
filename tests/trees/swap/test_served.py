"""A server with a read-only bind mount of the root: during swaps it serves the old or the new page."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from igny8_backup.trees.fs.linux import exchange_names
from igny8_backup.trees.swap.plan import plan_swap
from igny8_backup.trees.swap.swap import exchange, undo
from igny8_backup.trees.swap.target import make_staging
from tests.services import unavailable

pytestmark = pytest.mark.slow

PAGES = 8
SWAPS = 150
# Reads every page repeatedly until its input ends, through the mount and by its path, as a server does.
RENDERER = """
import json, os, select, sys

root = sys.argv[1]
seen = {"old": 0, "new": 0, "broken": [], "writable": os.access(root, os.W_OK)}
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for number in range(int(sys.argv[2])):
        try:
            with open(f"{root}/{number}/page") as page:
                words = set(page.read().split())
            seen[words.pop()] += 1
            seen["broken"] += words
        except Exception as error:
            seen["broken"].append(repr(error))
print(json.dumps(seen))
"""
MOUNT = """
mount --bind "$ROOT" "$MOUNTED"
mount -o remount,bind,ro "$MOUNTED"
exec "$PY" -c "$RENDERER" "$MOUNTED" "$PAGES"
"""


def write(folder: Path, state: str) -> None:
    for number in range(PAGES):
        (folder / str(number)).mkdir()
        (folder / str(number) / "page").write_text(f"{state}\n" * 2000)


def test_exchange_bind_mount_always_serves_old_or_new(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        unavailable("unshare is not installed.")
    root, mounted = tmp_path / "root", tmp_path / "mounted"
    root.mkdir()
    mounted.mkdir()
    write(root, "old")
    staging = make_staging(root, "20261122T021500Z").path
    write(staging, "new")
    if not can_exchange(root, staging):
        unavailable("The filesystem has no RENAME_EXCHANGE.")
    plan = plan_swap(root, staging)
    environment = {"ROOT": str(root), "MOUNTED": str(mounted), "PY": sys.executable, "PAGES": str(PAGES)}
    with subprocess.Popen(
        ["unshare", "--mount", "--map-root-user", "sh", "-ec", MOUNT],
        env={**os.environ, **environment, "RENDERER": RENDERER},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as renderer:
        assert renderer.stdout and renderer.stderr
        if renderer.stdout.readline() != "ready\n":
            output = renderer.stderr.read()
            if "unshare" in output:
                unavailable(f"No mount namespaces here: {output.strip()}.")
            raise AssertionError(output)
        for _ in range(SWAPS):
            exchange(plan)
            undo(plan)
        answer, _ = renderer.communicate()
    seen = json.loads(answer)
    assert seen["broken"] == [] and not seen["writable"]
    assert seen["old"] > PAGES and seen["new"] > PAGES


def can_exchange(root: Path, staging: Path) -> bool:
    """Whether this filesystem exchanges two names in one step; exchanges them twice to find out."""
    one, other = os.open(root, os.O_RDONLY), os.open(staging, os.O_RDONLY)
    try:
        return exchange_names(one, other, b"0") and exchange_names(one, other, b"0")
    finally:
        os.close(one)
        os.close(other)
