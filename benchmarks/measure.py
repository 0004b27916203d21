"""Measure one run of a program or of a pipeline."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks.watch import StallMonitor

Argv = Sequence[str | Path]
Pipeline = Sequence[Argv]

_TAIL = 2000


@dataclass(frozen=True, kw_only=True)
class Measured:
    """``wall`` and ``cpu`` in seconds, with child processes but without a database server; the rest in bytes.

    ``machine`` is the CPU time in seconds of everything on the machine meanwhile, a database server included.
    ``memory`` is the peak of the memory of all processes together, PSS without clean pages of files
    (``watch.memory_of``); ``memory_by`` has its parts, by program. ``peak`` is the sum of the peak resident
    memory (RSS) of the programs of the pipeline; ``child`` and ``child_peak`` describe the largest process
    that they started. ``scratch`` is the peak size of the temporary files.
    """

    wall: float
    cpu: float
    machine: float
    memory: int
    memory_by: dict[str, int]
    peak: int
    child: str
    child_peak: int
    scratch: int


class RunFailed(Exception):
    """A measured program failed, or its output is wrong."""


def measure(pipeline: Pipeline, *, env: Mapping[str, str], cwd: Path, output: Path | None = None) -> Measured:
    """Run the pipeline; write the stdout of the last program to ``output``, or discard it.

    TMPDIR and SCRATCH_DIR are a new folder next to ``cwd``. Earlier writes are flushed to disk first. Raises
    ``RunFailed`` with the tail of stderr.
    """
    scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=cwd))
    try:
        environment = {**env, "TMPDIR": str(scratch), "IGNY8_BACKUP_SCRATCH_DIR": str(scratch)}
        os.sync()
        with ExitStack() as stack, tempfile.TemporaryFile() as errors:
            sink = stack.enter_context(output.open("wb")) if output else subprocess.DEVNULL
            return _run(pipeline, environment, cwd, sink, errors, scratch)
    finally:
        shutil.rmtree(scratch)


def _run(
    pipeline: Pipeline,
    env: Mapping[str, str],
    cwd: Path,
    sink: IO[bytes] | int,
    errors: IO[bytes],
    scratch: Path,
) -> Measured:
    started, busy = time.perf_counter(), _machine_seconds()
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for position, argv in enumerate(pipeline):
            last = position == len(pipeline) - 1
            before = processes[-1].stdout if processes else None
            processes.append(
                subprocess.Popen(
                    argv,
                    stdin=before or subprocess.DEVNULL,
                    stdout=sink if last else subprocess.PIPE,
                    stderr=errors,
                    env=env,
                    cwd=cwd,
                )
            )
            if before:
                before.close()  # the next program's now: it must see the end of it
        with StallMonitor([process.pid for process in processes], scratch) as watch:
            cpu = sum(_wait(process) for process in processes)
            wall, busy = time.perf_counter() - started, _machine_seconds() - busy
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                process.wait()
    for process, argv in zip(processes, pipeline, strict=True):
        if process.returncode:
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - _TAIL))
            said = errors.read().decode(errors="replace")
            raise RunFailed(f"{Path(argv[0]).name} ended with {process.returncode}:\n{said}")
    own = {process.pid for process in processes}
    others = {pid: peak for pid, peak in watch.peaks.items() if pid not in own}
    largest = max(others, key=others.__getitem__, default=0)
    return Measured(
        wall=wall,
        cpu=cpu,
        machine=busy,
        memory=watch.memory,
        memory_by=watch.memory_by,
        peak=sum(peak for pid, peak in watch.peaks.items() if pid in own),
        child=watch.names.get(largest, ""),
        child_peak=others.get(largest, 0),
        scratch=watch.scratch,
    )


def _wait(process: subprocess.Popen[bytes]) -> float:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def _machine_seconds() -> float:
    """Return the seconds that all processors have been at work since the machine started: proc_stat(5)."""
    user, nice, system, _, _, interrupts, soft_interrupts, *_ = map(
        int, Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    )
    return (user + nice + system + interrupts + soft_interrupts) / os.sysconf("SC_CLK_TCK")


def run(argv: Argv, *, env: Mapping[str, str], cwd: Path) -> str:
    """Run a program without measuring it and return its output. Raises ``RunFailed``."""
    done = subprocess.run(
        argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8"
    )
    if done.returncode:
        said = (done.stdout + done.stderr)[-_TAIL:]
        raise RunFailed(f"{Path(argv[0]).name} ended with {done.returncode}:\n{said}")
    return done.stdout


def say(text: str) -> None:
    """Print the progress of the measurement."""
    print(text, file=sys.stderr, flush=True)
