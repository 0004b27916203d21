"""Imported by the process that reads a tree, when this folder leads its PYTHONPATH: SIGKILL at a moment.

The file ``moment`` beside the working copy of this one holds which of the things that the process does to the
disk is its last, and whether its parent dies with it; without it, the process leaves in ``counted`` how many
such things it has done.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BOUNDARIES = {"open", "os.listdir"}
WALK = "igny8_backup.trees.packs"
"""What is done before this is there is only the start of Python."""

done = 0
try:
    last, parent_too = json.loads((HERE / "moment").read_bytes())
except FileNotFoundError:
    last, parent_too = 0, False
    atexit.register(lambda: (HERE / "counted").write_text(str(done)))


def hook(event: str, arguments: Any) -> None:
    global done
    if event in BOUNDARIES and WALK in sys.modules:
        done += 1
        if done == last:
            if parent_too:
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(hook)
