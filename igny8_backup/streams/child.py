"""Start, feed, read and stop one child process.

``Child`` needs no helper thread and no temporary file. While it waits for stdin or stdout it also reads
stderr, so a child with a full stderr pipe never blocks both processes. If stderr is long, only its beginning
and its end stay in memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from igny8_backup.streams.account import Account
from igny8_backup.streams.interrupts import delay_interrupts
from igny8_backup.streams.stderr_tail import StderrTail, failure, start_error

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

_TICK = 0.05
"""Seconds between two checks whether the child has ended, when no pipe would report it."""

_PIPE_SIZE = 1 << 20
"""Capacity of a pipe in bytes: the most that Linux grants every user (``pipe-max-size`` in proc(5))."""


class Child:
    """A running child process, its pipes and its error messages. ``close`` stops and reaps it.

    The child runs in a session of its own. So Ctrl-C reaches only the Python process, which then stops the
    child. The child cannot ask the terminal for a password. Processes that the child starts are stopped with
    the child.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        pass_fds: Collection[int] = (),
        feed: bool = False,
        read: bool = False,
        run_as: Account | None = None,
    ) -> None:
        """Start ``argv``. ``env`` replaces the environment; ``pass_fds`` are descriptors to inherit.

        ``feed``: connect its stdin to a pipe for ``write``; otherwise stdin is empty. ``read``: connect its
        stdout to a pipe for ``read_block``; otherwise stdout becomes part of its error messages, like stderr.
        ``run_as``: the user that runs the program; only root can set it. Raises ``ToolMissingError`` if the
        program does not exist, ``ToolError`` if it cannot be started.
        """
        self.name = os.path.basename(argv[0])
        self._tail = StderrTail()
        try:
            with contextlib.ExitStack() as undo:
                with delay_interrupts():
                    self._process = subprocess.Popen(
                        list(argv),
                        env=env,
                        pass_fds=pass_fds,
                        stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE if read else subprocess.STDOUT,
                        bufsize=0,
                        start_new_session=True,
                        **(run_as.switch if run_as else {}),
                    )
                    self._open(read)
                    undo.callback(self.close)  # for an exception before the caller has this object
                undo.pop_all()
        except OSError as error:
            raise start_error(argv[0], error) from None

    def _open(self, read: bool) -> None:
        pipes = self._process
        self._stdin = pipes.stdin.fileno() if pipes.stdin else None
        first = pipes.stdout.fileno() if pipes.stdout else None
        self._stdout = first if read else None
        self._stderr = pipes.stderr.fileno() if pipes.stderr else first
        for fd in (self._stdin, self._stdout):
            if fd is not None and sys.platform == "linux":
                # Refused if the user has many large pipes open; the default size works as well.
                with contextlib.suppress(OSError):
                    fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        if self._stdin is not None:
            # A blocking write would wait for the child, while the child waits for its stderr to be read.
            # (The child's own end of the pipe stays blocking.)
            os.set_blocking(self._stdin, False)

    @property
    def stderr_tail(self) -> str:
        """The child's stderr so far as text. The middle of a long text is left out."""
        return str(self._tail)

    def read_block(self, size: int) -> bytes:
        """Return the next ``size`` bytes of the child's stdout, fewer only at its end.

        Waits for these bytes without a time limit.
        """
        buffer = bytearray(size)
        filled = 0
        with memoryview(buffer) as view:
            while filled < size and self._stdout is not None:
                self._wait({self._stdout: select.POLLIN})
                got = os.readv(self._stdout, [view[filled:]])
                if not got:
                    break
                filled += got
            return bytes(view[:filled])

    def write(self, data: bytes) -> bool:
        """Write ``data`` to the child's stdin. Return whether the child still has its stdin open."""
        rest = memoryview(data)
        while rest and self._stdin is not None:
            self._wait({self._stdin: select.POLLOUT})
            rest = self._push(self._stdin, rest)
        return self.reading

    def pump(self, data: bytes) -> Iterator[bytes]:
        """Write ``data`` to the child's stdin and yield the output that arrives on its stdout meanwhile.

        A child whose output nobody reads would stop reading its input. If the child closes its stdin, the
        rest of ``data`` is dropped and ``reading`` becomes false.
        """
        rest = memoryview(data)
        while rest and self._stdin is not None:
            wanted = {self._stdin: select.POLLOUT}
            if self._stdout is not None:
                wanted[self._stdout] = select.POLLIN
            ready = self._wait(wanted)
            if self._stdin in ready:
                rest = self._push(self._stdin, rest)
            if self._stdout is not None and self._stdout in ready:
                piece = os.read(self._stdout, _PIPE_SIZE)
                if not piece:
                    self._stdout = None  # its end, which poll(2) would report again and again
                else:
                    yield piece

    @property
    def reading(self) -> bool:
        """Whether the child still has its stdin open, as far as the last write showed."""
        return self._stdin is not None

    def exchange(self, data: bytes, limit: int) -> bytes:
        """Write ``data`` to the child's stdin, close its stdin, and return all that it writes to stdout.

        Returns at most ``limit`` bytes. If the output reaches this limit while ``data`` is still being
        written, stdin stays open.
        """
        output = bytearray()
        for piece in self.pump(data):
            output += piece
            if len(output) >= limit:
                return bytes(output[:limit])
        self.close_stdin()
        while piece := self.read_block(min(_PIPE_SIZE, limit - len(output))):
            output += piece
        return bytes(output)

    def close_stdin(self) -> None:
        """Close the child's stdin: its input is complete."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._stdin = None

    def finish(self, check: Callable[[], None] = lambda: None) -> None:
        """Wait until the child has ended, and call ``check`` meanwhile. Raises ``ToolError`` if it failed."""
        while self._stderr is not None and self._process.poll() is None:
            self._wait({}, _TICK)
            check()
        status = self._process.wait()
        self._wait({}, 0)  # read the last of its stderr; one read empties the pipe
        if status:
            raise failure(self.name, status, self.stderr_tail)

    def stop(self) -> None:
        """Send the child SIGTERM. A thread that reads the child's output then reaches the end."""
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)

    def close(self) -> None:
        """Stop the child if it still runs, reap it and close its pipes.

        The child receives SIGTERM and, if it still runs after ``GRACE`` seconds, SIGKILL. Its stdin is closed
        last: a child that reaches the end of incomplete input would take it for complete.
        """
        process = self._process
        try:
            if process.stdout is not None and self._stdout is not None:
                process.stdout.close()
            if process.poll() is None:
                self._signal(signal.SIGTERM)
            deadline = time.monotonic() + GRACE
            while process.poll() is None and time.monotonic() < deadline:
                self._wait({}, _TICK)
        finally:  # also if a second Ctrl-C interrupts the wait
            if process.poll() is None:
                self._signal(signal.SIGKILL)
                process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()

    def _wait(self, wanted: Mapping[int, int], seconds: float | None = None) -> set[int]:
        """Wait until one of the descriptors is ready, or for ``seconds``; return all that are ready.

        ``wanted`` maps each descriptor to its events for poll(2). Stderr is read meanwhile.
        """
        while True:
            poll = select.poll()
            for fd, events in wanted.items():
                poll.register(fd, events)
            if self._stderr is not None:
                poll.register(self._stderr, select.POLLIN)
            ready = {fd for fd, _ in poll.poll(None if seconds is None else seconds * 1000)}
            if self._stderr is not None and self._stderr in ready:
                piece = os.read(self._stderr, _PIPE_SIZE)
                self._tail.append(piece)
                if not piece:
                    self._stderr = None
            ready &= wanted.keys()
            if ready or seconds is not None:
                return ready

    def _push(self, stdin: int, rest: memoryview) -> memoryview:
        """Write as much of ``rest`` as the pipe to the child takes, and return what is left of it.

        If the child no longer reads its stdin, close the pipe.
        """
        try:
            return rest[os.write(stdin, rest) :]
        except BlockingIOError:
            return rest
        except BrokenPipeError:
            self.close_stdin()
            return rest

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the child's process group. Do not call this once the child has been reaped."""
        # macOS returns EPERM if only zombies are left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)
