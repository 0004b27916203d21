"""Where filesystems are mounted, for what must not be moved."""

from __future__ import annotations

import os
import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")


def mounts_below(folder: Path) -> list[bytes]:
    """Mount points strictly below a folder, sorted; bind mounts of the same filesystem too.

    From proc(5), ``/proc/pid/mountinfo``: the fifth field, in which blanks and backslashes are
    octal. Empty where there is no such file: the device numbers then show all but bind mounts.
    """
    try:
        lines = _MOUNTS.read_bytes().splitlines()
    except OSError:
        return []
    points = (re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), line.split()[4]) for line in lines)
    above = os.path.join(os.fsencode(folder.resolve()), b"")
    return sorted({point for point in points if point.startswith(above)})
