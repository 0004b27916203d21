"""Imported by the process that reads a tree, when this folder leads its PYTHONPATH: SIGKILL at a moment.

The file ``moment`` beside the working copy of this one holds who dies: the ``reader``, the ``walker`` (the
scanner process that the reader starts), or ``both`` the reader and its parent; and which of the things that
it does to the disk is its last. Without it, the reader leaves in ``counted`` how many such things it has
done. The walker counts the folders that it lists.
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
WALK = "igny8_backup.trees.archive.packs"
"""What is done before this is there is only the start of Python."""

walks = "igny8_backup.trees.scan.scanner_process" in sys.orig_argv
done = 0
try:
    victim, last = json.loads((HERE / "moment").read_bytes())
except FileNotFoundError:
    victim, last = "reader", 0
    if not walks:
        atexit.register(lambda: (HERE / "counted").write_text(str(done)))


def counts(event: str, arguments: Any) -> bool:
    """Whether the event is one of the moments.

    Python itself lists folders by name, the walker lists those of the tree by descriptor.
    """
    if walks:
        return event == "os.listdir" and isinstance(arguments[0], int)
    return event in BOUNDARIES and WALK in sys.modules


def hook(event: str, arguments: Any) -> None:
    global done
    if counts(event, arguments):
        done += 1
        if done == last and walks == (victim == "walker"):
            if victim == "both":
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(hook)
