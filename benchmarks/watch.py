"""Watch a tree of processes while it runs: its memory, and the temporary files.

``wait4`` returns one number for a process and its children. Here each process is measured separately, and the
memory of all at the same moment is added up (``memory_of``).
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
"""Seconds between measurements of memory. The kernel keeps the peak of the resident memory of each process.
It does not keep the peak of ``memory_of``, so a shorter peak may be missed."""

SCRATCH_EVERY = 4
"""Measurements of memory for each measurement of temporary files, which takes longer."""


class StallMonitor:
    """A context manager that measures the processes ``roots`` and their descendants. All sizes are in bytes.

    ``peaks`` has the peak resident memory by process id, and ``names`` the names of the programs. ``memory``
    is the peak of the sum of ``memory_of`` over all processes, and ``memory_by`` has its parts, by program.
    ``scratch`` is the peak size of the files in ``folder``, including files without a name.
    """

    def __init__(self, roots: Iterable[int], folder: Path) -> None:
        self.peaks: dict[int, int] = {}
        self.names: dict[int, str] = {}
        self.memory = 0
        self.memory_by: dict[str, int] = {}
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
            self._add_up(tree)
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

    def _add_up(self, tree: list[int]) -> None:
        found: dict[str, int] = {}
        for pid in tree:
            with suppress(OSError):  # it has ended
                name, size = _program(pid), memory_of(pid)
                if _program(pid) != name:
                    continue  # it began meanwhile, so this was the memory of its parent, counted twice
                found[name] = found.get(name, 0) + size
        if (memory := sum(found.values())) > self.memory:
            self.memory, self.memory_by = memory, found

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


def memory_of(pid: int) -> int:
    """Return the memory of a process in bytes: its PSS without clean pages of files. Raises ``OSError``.

    PSS is the proportional set size: a page that several processes share counts as an equal part in each, so
    that the sum over processes counts each page once. Anonymous memory (also if it is swapped out), shared
    memory and modified pages of files count. Clean pages of files do not: programs, libraries, and files that
    are only read through a mapping. The kernel drops these pages whenever it needs the memory. A mapped file
    on tmpfs counts, because it is in memory in any case. Source: proc_pid_smaps(5).
    """
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        field, size, _ = line.split()
        sizes[field] = int(size) * 1024
    # Pss_Dirty has the modified pages of all three kinds. Pages of the first two can be clean, if rarely.
    resident = max(sizes["Pss_Anon:"] + sizes["Pss_Shmem:"], sizes.get("Pss_Dirty:", 0))
    return resident + sizes["SwapPss:"]


def _program(pid: int) -> str:
    """Return the module of ``python -m MODULE``, without its package, or the name of another program."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    if len(words) > 2 and words[1] == b"-m":
        return words[2].decode().rpartition(".")[2]
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _count(path: str, used: dict[tuple[int, int], int]) -> None:
    with suppress(OSError):
        found = os.stat(path)
        used[found.st_dev, found.st_ino] = found.st_blocks * 512
