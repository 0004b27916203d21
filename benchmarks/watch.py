"""Watch a tree of processes while it runs: the peak memory of each process, and the temporary files.

``wait4`` returns one number for a process and its children; here each process is measured separately.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

INTERVAL = 0.05
"""Seconds between measurements of memory. The kernel keeps the peak, so little can be missed."""

SCRATCH_EVERY = 4
"""Measurements of memory for each measurement of temporary files, which takes longer."""


class StallMonitor:
    """A context manager that measures ``peaks`` (bytes by process id), ``names`` and ``scratch`` (bytes).

    ``scratch`` is the peak size of the files in ``folder``, including files without a name.
    """

    def __init__(self, roots: Iterable[int], folder: Path) -> None:
        self.peaks: dict[int, int] = {}
        self.names: dict[int, str] = {}
        self.scratch = 0
        self._roots = list(roots)
        self._folder = os.fspath(folder)
        self._commands: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        looks = 0
        while True:
            tree = self._tree()
            for pid in tree:
                self._look(pid)
            if looks % SCRATCH_EVERY == 0:
                self.scratch = max(self.scratch, self._scratch(tree))
            looks += 1
            if self._over.wait(INTERVAL):
                return

    def _tree(self) -> list[int]:
        """Return the processes and all their descendants."""
        found = list(self._roots)
        for pid in found:
            with suppress(OSError):
                for thread in os.listdir(f"/proc/{pid}/task"):
                    children = Path(f"/proc/{pid}/task/{thread}/children").read_text()
                    found += [int(word) for word in children.split()]
        return found

    def _look(self, pid: int) -> None:
        with suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if pid in self._roots:
                self._commands.add(command)
            elif command in self._commands:
                return  # between fork and exec a child is still a copy of its parent
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            fields = dict(line.split(":", 1) for line in lines if ":" in line)
            if "VmHWM" in fields:
                self.peaks[pid] = int(fields["VmHWM"].split()[0]) * 1024
                self.names[pid] = fields["Name"].strip()

    def _scratch(self, tree: list[int]) -> int:
        used: dict[tuple[int, int], int] = {}
        for folder, _, files in os.walk(self._folder):
            for name in files:
                _count(os.path.join(folder, name), used)
        for pid in tree:
            with suppress(OSError):
                for fd in os.listdir(f"/proc/{pid}/fd"):
                    path = f"/proc/{pid}/fd/{fd}"
                    with suppress(OSError):
                        if os.readlink(path).startswith(self._folder + "/"):
                            _count(path, used)
        return sum(used.values())


def _count(path: str, used: dict[tuple[int, int], int]) -> None:
    with suppress(OSError):
        found = os.stat(path)
        used[found.st_dev, found.st_ino] = found.st_blocks * 512
