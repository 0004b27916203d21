"""Describe the hardware and the versions of programs, without the name of the machine."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("Django", "django-dbbackup", "pyrage", "backports.zstd")
PROGRAMS = {
    "age": ("--version",),
    "zstd": ("--version",),
    "tar": ("--version",),
    "rsync": ("--version",),
    "restic": ("version",),
    "borg": ("--version",),
}


def facts() -> dict[str, str]:
    """Return a description of this machine."""
    found = {
        "measured": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": f"{os.cpu_count()} cores, {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}, {platform.machine()}",
        "load at the start": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except ModuleNotFoundError:
            continue
    return found


def versions_of(programs: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of the installed programs."""
    found = {}
    for name in programs:
        if shutil.which(name):
            done = subprocess.run([name, *PROGRAMS[name]], capture_output=True, text=True)
            number = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
            found[name] = number[0] if number else "?"
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
