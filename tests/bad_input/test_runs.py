"""Wrong clocks, and signals at any moment.

tests/operations/test_interrupted.py covers: two runs at the same time on one host and on two; a killed run; a
lost lock; a signal while a client program runs; a power failure during the swap. A task delivered twice:
tests/operations/backup/test_redelivery.py. An id in use, and a clock set back:
tests/operations/test_clock_skew.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.bad_input.conftest import Ground
from tests.bad_input.outcome import loose, shown
from tests.docs.pages import assert_shown
from tests.management import state
from tests.management.commands import Command, run_many
from tests.services import unavailable
from tests.services.project import PYTHON, Project, unmeasured
from tests.services.s3 import RcloneS3, installed

MIB = 1 << 20


def test_backup_dated_in_the_future_is_reported(ground: Ground, tmp_path: Path) -> None:
    """The clock was ahead then or is behind now. Both are possible, so the message names both."""
    storage = tmp_path / "storage"
    shutil.copytree(ground.project.storage, storage)
    ahead = "20991231T000000Z" + ground.id[16:]
    home = storage / "igny8/backups"
    text = (home / ground.id / "manifest.json").read_text().replace(ground.id, ahead)
    packs = storage / "igny8/packs"
    for path in packs.rglob(f"{ground.id}*"):
        copy = path.with_name(path.name.replace(ground.id, ahead))
        content = path.read_bytes()
        if path.suffix == ".json":  # a list of packs, which the manifest names by its digest
            before = hashlib.sha256(content).hexdigest()
            content = content.replace(ground.id.encode(), ahead.encode())
            assert before in text
            text = text.replace(before, hashlib.sha256(content).hexdigest())
        copy.write_bytes(content)
    manifest = json.loads(text)
    manifest["started"] = "2099-12-31T00:00:00.000000Z"
    shutil.copytree(home / ground.id, home / ahead)
    (home / ahead / "manifest.json").write_text(json.dumps(manifest))
    made, listed, planned, by_id, named, pruned, watched = run_many(
        ground.project,
        *(
            Command(argv, storage=storage)
            for argv in (
                ["backup_sites", "uploads"],
                ["list_backups"],
                ["restore_all", "--dry-run", "--no-migrate", *ground.identity],
                ["restore_all", ground.id, "--dry-run", "--no-migrate", *ground.identity],
                ["restore_all", ahead, "--dry-run", "--no-migrate", *ground.identity],
                ["prune_backups", "--dry-run"],
                ["monitor_backups"],
            )
        ),
    )
    note = f"Backup {ahead} is dated "
    assert note in made.ended(0).stderr and "the backup is not believed" in made.stderr
    assert_shown(made.stderr)
    assert "in the future" in listed.ended(0).stdout
    passed_over = f"Backup {ahead} is not used for 'default', because its copy is future: it is dated "
    assert passed_over in planned.ended(0).stdout
    assert f"database default: from {ground.id} (" in planned.stdout
    assert ahead not in by_id.ended(0).stdout
    assert f"WARNING: the copy of 'default' in backup {ahead} is future" in named.ended(0).stdout
    assert f"IN THE FUTURE: backup {ahead} is dated later than now" in pruned.ended(3).stderr
    assert f"FAILED  dates, all records: dated in the future, and not believed: backup {ahead}" in (
        watched.ended(7).stdout
    )


IN_AN_IMPORT = re.compile(
    r"Exception ignored in: <_io\.FileIO name='[^\n]*\.pyc?'[^\n]*\n"
    r"Traceback \(most recent call last\):\n"
    r'  File "<frozen importlib\._bootstrap_external>"[^\n]*\n'
    r"ResourceWarning: [^\n]*\n"
)
"""Warning of Python in development mode, if a signal arrives while it opens a module."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneS3]:
    program = installed()
    if program is None:
        unavailable("rclone is not installed.")
    with RcloneS3(program, tmp_path_factory.mktemp("s3")) as found:
        yield found


@contextmanager
def signalled(project: Project, times: int, *argv: str, env: Mapping[str, str]) -> Iterator[Iterator[Any]]:
    """Yield the results of the signalled runs; each run starts when its result is requested."""
    with subprocess.Popen(
        [*PYTHON, Path(__file__).with_name("signalled.py"), str(times), *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=project.folder,
        env={**unmeasured(project.environment), **env},
    ) as process:
        assert process.stdin and process.stdout

        def results() -> Iterator[Any]:
            assert process.stdin and process.stdout
            for line in process.stdout:
                yield json.loads(line)
                process.stdin.write("\n")
                process.stdin.flush()

        yield results()
        process.stdin.close()
    assert process.returncode == 0


def test_backup_signalled_at_any_moment_leaves_nothing(
    ground: Ground, server: RcloneS3, exhaustive: bool
) -> None:
    """During an upload of several parts, no signal leaves a partial object, and complete objects are
    orphans."""
    env = {
        "IGNY8_BACKUP_S3_BUCKET": server.bucket,
        "IGNY8_BACKUP_S3_ENDPOINT": server.endpoint,
        "IGNY8_BACKUP_S3_ACCESS_KEY": server.access_key,
        "IGNY8_BACKUP_S3_SECRET_KEY": server.secret_key,
    }
    project, place = ground.project, server.folder / "buckets" / server.bucket
    large = project.uploads / "large"
    large.write_bytes(os.urandom(30 * MIB))
    earlier: set[Path] = set()
    stopped = 0
    client = server.client()
    try:
        with signalled(project, 12 if exhaustive else 6, "backup_all", "--full", env=env) as results:
            for result in results:
                made = set(place.glob("igny8/backups/*/manifest.json"))
                when = f"{result['signal']} after {result['after']:.3f} s: {result['output']}"
                assert "Traceback" not in IN_AN_IMPORT.sub("", result["output"]), when
                assert client.list_multipart_uploads(Bucket=server.bucket).get("Uploads", []) == [], when
                half = [path for path in place.rglob("*") if "multipart" in path.name]
                assert half == [], when
                if result["status"] == 0:
                    assert len(made - earlier) == 1, when
                else:
                    stopped += 1
                    assert result["status"] in (128 + result["signal"], -result["signal"]), when
                    # A signal that arrives after the manifest was written stops a run whose backup exists.
                    assert len(made - earlier) <= 1
                earlier = made
    finally:
        client.close()
        large.unlink()
    assert stopped >= 3
    assert state.leftovers(project) == []
    assert loose(place) <= shown(project, env)
