"""The command line options of every benchmark."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

QUICK, TWENTIETH, FULL = "quick", "twentieth", "full"


def parser(description: str) -> ArgumentParser:
    """Return a parser with the common options."""
    made = ArgumentParser(description=description)
    made.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "igny8-backup-benchmarks",
        help="Where data is kept between runs, and everything is written; default: %(default)s.",
    )
    made.add_argument("--quick", action="store_true", help="Small data: seconds instead of minutes.")
    made.add_argument("--runs", type=int, default=3, help="Rounds; medians are shown. Default: 3.")
    made.add_argument(
        "--slow-runs", type=int, help="Rounds of peers that take minutes; default: as many as --runs."
    )
    made.add_argument("--out", type=Path, help="Where the report goes; default: WORK/results.")
    made.add_argument(
        "--update-readme", action="store_true", help="Put the tables into benchmarks/README.md as well."
    )
    made.add_argument("--postgresql", type=int, default=18, help="Major version of the server. Default: 18.")
    return made


def require_programs(*programs: str) -> None:
    """End the benchmark if a program that decodes outputs is not installed."""
    for program in programs:
        if not shutil.which(program):
            raise SystemExit(f"{program} is needed: outputs are decoded with it and compared.")


def scale(options: Namespace) -> str:
    """Return the scale: ``quick`` or ``full``."""
    return QUICK if options.quick else FULL


@contextmanager
def work_folder(options: Namespace) -> Iterator[Path]:
    """Create and lock the work folder. Others may enter it, because the server may run as another user."""
    work: Path = options.work.resolve()
    work.mkdir(mode=0o755, parents=True, exist_ok=True)
    lock = os.open(work / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield work
    except BlockingIOError:
        raise SystemExit(f"Another benchmark runs in {work}.") from None
    finally:
        os.close(lock)


def out_folder(options: Namespace) -> Path:
    """Create and return the folder for reports."""
    out: Path = options.out or options.work.resolve() / "results"
    out.mkdir(parents=True, exist_ok=True)
    return out
