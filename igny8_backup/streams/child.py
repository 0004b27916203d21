"""One child process, as the thread that waits for it sees it.

No helper thread and no temporary file: whatever we wait for, the child's stderr is polled as well, its tail
kept and the rest thrown away, so neither side can block the other.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import select
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence

from igny8_backup.errors import ToolError
from igny8_backup.streams.interrupts import held_back
from igny8_backup.streams.stderr import Said, ending, not_started

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

_TICK = 0.05
"""Seconds between two looks at whether the child has ended, where no pipe can tell."""

_PIPE_SIZE = 1 << 20
"""Bytes a pipe should hold: what Linux grants to anyone (``pipe-max-size`` in proc(5))."""


class Child:
    """A started program, its pipes and the tail of its stderr. ``close`` it to be sure that it is gone.

    It runs in a session of its own: Ctrl-C on the terminal reaches us alone and we stop it, it cannot ask
    the terminal for a password, and the processes it starts are stopped with it.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        pass_fds: Collection[int] = (),
        user: str | None = None,
        stdin: int | None = None,
        feed: bool = False,
        read: bool = False,
    ) -> None:
        """Start ``argv``.

        ``feed``: its stdin is a pipe that we write; else it is the descriptor ``stdin``, or nothing.
        ``read``: its stdout is a pipe that we read; else it is taken for stderr. ``user``: the system user
        to run as, with that user's groups. Raises ``ToolMissingError`` or ``ToolError``.
        """
        self.name = os.path.basename(argv[0])
        self._said = Said()
        nothing = subprocess.DEVNULL if stdin is None else stdin
        try:
            account = None if user is None else pwd.getpwnam(user)
            with contextlib.ExitStack() as undo:
                with held_back():
                    self._process = subprocess.Popen(
                        list(argv),
                        env=env,
                        cwd=cwd,
                        pass_fds=pass_fds,
                        stdin=subprocess.PIPE if feed else nothing,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE if read else subprocess.STDOUT,
                        bufsize=0,
                        start_new_session=True,
                        user=account.pw_uid if account else None,
                        group=account.pw_gid if account else None,
                        extra_groups=os.getgrouplist(account.pw_name, account.pw_gid) if account else None,
                    )
                    self._open(read)
                    undo.callback(self.close)  # who is interrupted before there is an object cannot do it
                undo.pop_all()
        except KeyError:
            raise ToolError(f"{self.name} could not be started: there is no system user {user}.") from None
        except OSError as error:
            raise not_started(argv[0], error, cwd) from None

    def _open(self, read: bool) -> None:
        pipes = self._process
        self._stdin = pipes.stdin.fileno() if pipes.stdin else None
        first = pipes.stdout.fileno() if pipes.stdout else None
        self._stdout = first if read else None
        self._stderr = pipes.stderr.fileno() if pipes.stderr else first
        for fd in (self._stdin, self._stdout):
            if fd is not None:
                _enlarge(fd)
        if self._stdin is not None:
            # A blocking write of a whole block would wait for a child that waits for us to read its stderr.
            # (The child's own end of the pipe stays a blocking one.)
            os.set_blocking(self._stdin, False)

    @property
    def stderr_tail(self) -> str:
        """Its stderr as text, without the middle where it is longer than what is kept."""
        return str(self._said)

    def read_block(self, size: int) -> bytes:
        """``size`` bytes of its stdout, however long that takes; fewer at the end of it, and then none."""
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
        """Push ``data`` into its stdin. False if the child reads no more."""
        rest = memoryview(data)
        while rest and self._stdin is not None:
            self._wait({self._stdin: select.POLLOUT})
            rest = self._push(rest)
        return self._stdin is not None

    def pump(self, data: bytes) -> Iterator[bytes]:
        """Push ``data`` into its stdin and give what it writes to stdout meanwhile: a child that waits for
        its output to be taken reads no input. ``reading`` tells afterwards whether it will read more."""
        rest = memoryview(data)
        while rest and self._stdin is not None:
            wanted = {self._stdin: select.POLLOUT}
            if self._stdout is not None:
                wanted[self._stdout] = select.POLLIN
            ready = self._wait(wanted)
            if self._stdin in ready:
                rest = self._push(rest)
            if self._stdout is not None and self._stdout in ready:
                piece = os.read(self._stdout, _PIPE_SIZE)
                if not piece:
                    self._stdout = None  # the end of it, which poll(2) would report for ever
                    continue
                yield piece

    @property
    def reading(self) -> bool:
        """Whether its stdin still takes something, as far as is known."""
        return self._stdin is not None

    def exchange(self, data: bytes, limit: int) -> bytes:
        """Write ``data`` to its stdin and read its stdout, side by side; stop after ``limit`` bytes of it."""
        rest = memoryview(data)
        output = bytearray()
        stdout = self._stdout
        while len(output) < limit:
            if not rest:
                self.close_stdin()
            wanted = {}
            if stdout is not None:
                wanted[stdout] = select.POLLIN
            if self._stdin is not None:
                wanted[self._stdin] = select.POLLOUT
            if not wanted:
                break
            ready = self._wait(wanted)
            if self._stdin in ready:
                rest = self._push(rest)
            if stdout is not None and stdout in ready:
                piece = os.read(stdout, min(_PIPE_SIZE, limit - len(output)))
                output += piece
                if not piece:
                    stdout = None
        return bytes(output)

    def close_stdin(self) -> None:
        """Tell the child that its input is complete."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._stdin = None

    def finish(self) -> None:
        """Wait until the child has ended and raise ``ToolError`` unless its exit status is 0."""
        while self._stderr is not None and self._process.poll() is None:
            self._wait({}, _TICK)
        status = self._process.wait()
        self._wait({}, 0)  # what it wrote last; one read empties the pipe
        if status:
            tail = self.stderr_tail
            raise ToolError(
                f"{self.name} {ending(status)}{': ' + tail if tail else ' and said nothing.'}",
                stderr_tail=tail,
                exit_status_of_tool=status,
            )

    def terminate(self) -> None:
        """Send the child SIGTERM if it still runs, and wait for nothing: for threads other than the one that
        does."""
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)

    def close(self) -> None:
        """Stop the child if it still runs (SIGTERM, after ``GRACE`` SIGKILL), reap it, close its pipes.

        Its stdin is closed last: a child that met the end of its input before its end would take half
        of it for the whole.
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
        finally:  # also when a second Ctrl-C cuts the grace short
            if process.poll() is None:
                self._signal(signal.SIGKILL)
                process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()

    def _wait(self, wanted: Mapping[int, int], seconds: float | None = None) -> set[int]:
        """Which of the ``wanted`` descriptors are ready; waits for one, or ``seconds``. Drains stderr."""
        while True:
            poll = select.poll()
            for fd, events in wanted.items():
                poll.register(fd, events)
            if self._stderr is not None:
                poll.register(self._stderr, select.POLLIN)
            ready = {fd for fd, _ in poll.poll(None if seconds is None else seconds * 1000)}
            if self._stderr is not None and self._stderr in ready:
                piece = os.read(self._stderr, _PIPE_SIZE)
                self._said.keep(piece)
                if not piece:
                    self._stderr = None
            ready &= wanted.keys()
            if ready or seconds is not None:
                return ready

    def _push(self, rest: memoryview) -> memoryview:
        """Write what the pipe takes now and return what is left; close stdin if nobody reads it."""
        if self._stdin is not None:
            try:
                return rest[os.write(self._stdin, rest) :]
            except BlockingIOError:
                pass
            except BrokenPipeError:
                self.close_stdin()
        return rest

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the child's whole process group; only while the child is not reaped."""
        # macOS answers EPERM where only zombies are left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _enlarge(fd: int) -> None:
    if sys.platform == "linux":
        # Refused where the user already holds many large pipes; the default size works as well.
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
