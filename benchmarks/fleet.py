"""``python -m benchmarks.fleet``: measure fleet backups: their overhead, and what grows with the hosts.

Two things are measured. First, an unchanged night of three small hosts on this machine, each with a Celery
worker of its own over a real Redis, beside the backups of the same hosts one after the other. The overhead is
the time of the fleet backup beyond the run of its slowest host. Second, simulated fleets of 10, 100 and 1,000
hosts with a small tree each: the coordinator is the real one, a handful of processes do the tasks of all
hosts, and the storage is a folder that counts requests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import TESTPROJECT
from benchmarks.fleet_simulation import make_tree
from benchmarks.machine import facts
from benchmarks.project import PYTHON, base_environment
from tests.services.redis import RedisServer, installed

HOSTS = ("web-1", "web-2", "web-3")
OVERHEAD = 3.0
"""The most seconds that a fleet backup may take beyond the run of its slowest host."""
SIMULATED = (10, 100, 1000)
SETTINGS = """
from project.settings import *
IGNY8_BACKUP |= {{
    "DATABASES": [], "ENCRYPTION": None, "SITES": {{"sites": {folder!r} + "/" + IGNY8_BACKUP["HOST"]}},
    "HOSTS": {{name: {{"queue": "backup-" + name, "sites": ["sites"]}} for name in {hosts!r}}},
}}
"""


def main() -> None:
    """Measure both, and print tables."""
    parser = ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--hosts", type=int, nargs="*", default=SIMULATED, help="Sizes of simulated fleets.")
    parser.add_argument("--runs", type=int, default=5, help="Rounds of the three real hosts.")
    parser.add_argument("--files", type=int, default=2000, help="Files of each of the three hosts.")
    parser.add_argument("--folder", type=Path, default=None, help="Where the data is made.")
    given = parser.parse_args()
    print(*(f"{name}: {value}" for name, value in facts().items()), sep=", ")
    folder = Path(tempfile.mkdtemp(dir=given.folder, prefix="igny8-fleet-"))
    try:
        if given.runs:
            print(*measure_three(folder / "three", given), sep="\n")
        if given.hosts:
            print(*simulated_table(folder, given.hosts), sep="\n")
    finally:
        shutil.rmtree(folder)


def measure_three(folder: Path, given: Namespace) -> Iterator[str]:
    """Yield a table of fleet backups of three hosts, beside backups of the hosts one after the other."""
    program = installed()
    if program is None:
        raise SystemExit("redis-server is not installed.")
    for host in HOSTS:
        make_tree(folder / "trees" / host, given.files)
    (folder / "fleet_settings.py").write_text(SETTINGS.format(folder=str(folder / "trees"), hosts=HOSTS))
    with RedisServer(program, folder) as redis, ExitStack() as stack:
        for host in HOSTS:
            stack.enter_context(worker(folder, redis.url, host))
        fleet, slowest, each = [], [], []
        for number in range(given.runs + 1):
            wall, record = timed(folder, redis.url, "web-1", "backup_fleet", "--json")
            runs = [run_seconds(folder, part["backup_id"]) for part in record["fleet"]["parts"]]
            if number:  # the first one stores everything
                fleet.append(wall)
                slowest.append(max(runs))
                each.append(
                    sum(timed(folder, redis.url, host, "backup_sites", "--json")[0] for host in HOSTS)
                )
    over = sorted(wall - run for wall, run in zip(fleet, slowest, strict=True))[len(fleet) // 2]
    yield "| an unchanged night of three hosts | median s |"
    yield "|---|---|"
    for name, values in (
        ("`backup_fleet`, the whole command", fleet),
        ("the run of the slowest host, from its record", slowest),
        ("`backup_sites` on the three hosts, one after the other", each),
    ):
        yield f"| {name} | {sorted(values)[len(values) // 2]:.2f} |"
    yield f"| overhead beyond the slowest host (at most {OVERHEAD:.0f}) | {over:.2f} |"


def environment(folder: Path, broker: str, host: str) -> dict[str, str]:
    """Return the environment of the processes of ``host``."""
    base = base_environment(folder)
    return base | {
        "PYTHONPATH": os.pathsep.join((str(folder), base["PYTHONPATH"])),
        "DJANGO_SETTINGS_MODULE": "fleet_settings",
        "CELERY_BROKER_URL": broker,
        "IGNY8_BACKUP_FOLDER": str(folder / "storage"),
        "IGNY8_BACKUP_HOST": host,
        "IGNY8_BACKUP_STATE_DIR": str(folder / f"state-{host}"),
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    }


@contextmanager
def worker(folder: Path, broker: str, host: str) -> Iterator[None]:
    """Run the Celery worker of ``host`` during the block."""
    log = folder / f"{host}.log"
    argv = [
        "-m",
        "celery",
        "-A",
        "project",
        "worker",
        "--pool=solo",
        "-Q",
        f"backup-{host}",
        "--loglevel=INFO",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*PYTHON, *argv, f"--hostname={host}@benchmark"],
            cwd=folder,
            env=environment(folder, broker, host),
            stdout=output,
            stderr=output,
        )
    try:
        while " ready." not in log.read_text(errors="replace"):
            if process.poll() is not None:
                raise SystemExit(f"The worker of {host} did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(60)


def timed(folder: Path, broker: str, host: str, *words: str) -> tuple[float, dict[str, Any]]:
    """Run a management command on ``host``; return its seconds and its JSON output."""
    begun = time.perf_counter()
    done = subprocess.run(
        [*PYTHON, str(TESTPROJECT / "manage.py"), *words],
        cwd=folder,
        env=environment(folder, broker, host),
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(f"{words[0]} failed:\n{done.stdout}\n{done.stderr}")
    return seconds, json.loads(done.stdout)


def run_seconds(folder: Path, backup_id: str) -> float:
    """Return how long a run took, by its record."""
    run = json.loads((folder / "storage/igny8/runs" / f"{backup_id}.json").read_text())
    started, finished = map(datetime.fromisoformat, (run["started"], run["finished"]))
    return (finished - started).total_seconds()


def simulated_table(folder: Path, sizes: list[int]) -> Iterator[str]:
    """Yield a table of simulated fleets. Each runs in a process of its own, whose memory is measured."""
    yield ""
    yield (
        "| hosts | tasks sent | wall s | requests of the coordinator | its memory MiB | its record, bytes |"
        " requests of one host |"
    )
    yield "|---|---|---|---|---|---|---|"
    for size in sizes:
        where = folder / f"simulated-{size}"
        where.mkdir()
        program = [sys.executable, "-m", "benchmarks.fleet_simulation", str(where), str(size)]
        found = json.loads(subprocess.run(program, check=True, capture_output=True, text=True).stdout)
        yield (
            f"| {size:,} | {found['sent']:,} | {found['wall']:.1f} | {found['coordinator']:,} |"
            f" {found['memory']:.0f} | {found['record']:,} | {found['host']:.1f} |"
        )
        shutil.rmtree(where)


if __name__ == "__main__":
    main()
