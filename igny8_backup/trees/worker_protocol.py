"""The protocol between a parent process and its workers: processes that read, hash and write files.

Workers are processes because Python runs only one thread at a time. While a worker is busy with files, its
parent encodes, decodes and transfers. A worker is ``python -m MODULE FD``. It imports nothing that needs
Django and knows no secret.

1. FD is shared memory, divided into slots (``streams.shared_memory``). Blocks of data go through the slots;
   the pipes carry only messages about them.
2. On stdin the worker first receives its job: the length of a JSON object, then the object.
3. After that both sides send messages: a kind, two numbers, and for some kinds a payload:

   ======== ============== ==================================================================
   kind     numbers        meaning
   ======== ============== ==================================================================
   BEGIN    length         a stream begins; the payload is its name
   BLOCK    length, slot   the next block of the stream is in this slot
   FREE     slot           the receiver has read the block; the slot may be filled again
   END                     the stream is complete; between streams: there are no more streams
   PROGRESS files, bytes   totals so far
   RESULT   length         the payload is the result as JSON; the worker is done
   FAILED   length         the payload is an error as JSON: its class and three parts
   BATCH    length         the payload is a pickled batch of work or, from the worker, its results
   ASIDE    length, slot   the next block of another stream, which the worker sends at the same time
   LAST                    the other stream is complete; the next block begins a new one
   ======== ============== ==================================================================

4. A worker ends with ``RESULT`` or ``FAILED``. Any other end of its output, or of its input, is an error.

The parent uses ``start_worker`` and ``Worker``; the worker uses ``run`` and ``Parent``.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any, NamedTuple, NoReturn

from igny8_backup.common.filesystem import write_all
from igny8_backup.errors import BackupError, FilesError, IntegrityError, ToolError
from igny8_backup.streams import Blocks
from igny8_backup.streams.account import Account, become
from igny8_backup.streams.child import Child
from igny8_backup.streams.shared_memory import Sender, Slots
from igny8_backup.trees.tar.blocks import TarBlocks

BEGIN, BLOCK, FREE, END, PROGRESS, RESULT, FAILED, BATCH, ASIDE, LAST = range(10)

_HEADER = struct.Struct(">BQQ")
"""A kind and two numbers: so few bytes that a pipe takes all of them or none (PIPE_BUF in pipe(7))."""
_LENGTH = struct.Struct(">I")
_WITH_PAYLOAD = (BEGIN, RESULT, FAILED, BATCH)
_ERRORS: dict[str, type[BackupError]] = {cls.__name__: cls for cls in (FilesError, IntegrityError)}

_UNCHANGED = "Nothing live was changed."
_HINT = "Run the same command again. If memory was short, the kernel ended the process: see its log (dmesg)."


class Message(NamedTuple):
    """A message between a parent and a worker: a kind, two numbers and, for some kinds, a payload."""

    kind: int
    first: int = 0
    second: int = 0
    payload: bytes = b""

    def encoded(self) -> bytes:
        """Return the bytes of the message, as they are written to the pipe."""
        first = len(self.payload) if self.kind in _WITH_PAYLOAD else self.first
        return _HEADER.pack(self.kind, first, self.second) + self.payload


@contextmanager
def start_worker(
    module: str, *, run_as: Account | None = None, pass_fds: Sequence[int] = ()
) -> Iterator[Worker]:
    """Start the worker ``python -m MODULE FD``. The worker is stopped at the end of the context.

    ``run_as`` is the user that the worker becomes before it reads anything; only root can set it. This user
    need not be able to run Python, which may be installed where only root can read it. The worker inherits
    the descriptors ``pass_fds``. A worker takes a tenth of a second to start. Start it early and prepare its
    job meanwhile.
    """
    with closing(Slots()) as slots:
        user = [str(run_as.uid), str(run_as.gid)] if run_as else []
        argv = [sys.executable, "-m", module, str(slots.fd), *user]
        path = os.pathsep.join(path or os.getcwd() for path in sys.path)
        env = {"PYTHONPATH": path, "PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
        fds = (slots.fd, *pass_fds)
        with closing(Child(argv, env=env, pass_fds=fds, feed=True, read=True)) as child:
            yield Worker(child, slots, module.removeprefix("igny8_backup."))


class Worker:
    """The parent's side of the connection to a worker process. Only one thread at a time may use it.

    Methods that wait for the worker raise the error that ended it: ``FilesError`` and ``IntegrityError`` as
    the worker raised them, ``ToolError`` if the worker was killed or failed in another way.
    """

    def __init__(self, child: Child, slots: Slots, name: str) -> None:
        self._child = child
        self._slots = slots
        self._name = name
        self._sender = Sender(slots, announce=self._send_block, wait_free=self._receive_free)

    def begin(self, job: dict[str, Any]) -> None:
        """Send the worker its job. If the worker has ended, the next ``receive`` raises the reason."""
        data = json.dumps(job).encode()
        self._child.write(_LENGTH.pack(len(data)) + data)

    def send(self, message: Message) -> None:
        """Send a message to the worker. If the worker has ended, the next ``receive`` raises the reason."""
        self._child.write(message.encoded())

    def send_stream(self, blocks: Blocks, name: bytes = b"") -> None:
        """Send all of ``blocks`` as a stream of this name.

        An exception that ``blocks`` raises passes through.
        """
        with closing(blocks):
            self.send(Message(BEGIN, payload=name))
            for block in blocks:
                self._sender.send(block)
            self._sender.flush()
            self.send(Message(END))

    def receive(self) -> Message:
        """Wait for the next message of the worker."""
        header = self._child.read_block(_HEADER.size)
        if len(header) < _HEADER.size:
            self._raise_end()
        kind, first, second = _HEADER.unpack(header)
        payload = self._child.read_block(first) if kind in _WITH_PAYLOAD else b""
        if kind in _WITH_PAYLOAD and len(payload) < first:
            self._raise_end()
        if kind == FAILED:
            with suppress(ToolError):
                self._child.finish()
            kind_of_error, *parts = json.loads(payload)
            raise _ERRORS[kind_of_error](*parts)
        return Message(kind, first, second, payload)

    def block(self, message: Message) -> memoryview:
        """Return the bytes that a ``BLOCK`` or ``ASIDE`` message announces. They are valid until ``free``."""
        return self._slots.memory(message.second)[: message.first]

    def free(self, message: Message) -> None:
        """Let the worker fill the slot (part of the shared memory) of such a message again."""
        self.send(Message(FREE, message.second))

    def result(self) -> dict[str, Any]:
        """Wait until the worker has finished its job, and return the result."""
        while (message := self.receive()).kind != RESULT:
            pass
        self._child.finish()
        found: dict[str, Any] = json.loads(message.payload)
        return found

    def stop(self) -> None:
        """Ask the worker to end, for example because nobody needs its results. Any thread may call this."""
        self._child.stop()

    def _send_block(self, length: int, slot: int) -> None:
        self.send(Message(BLOCK, length, slot))

    def _receive_free(self) -> bytes:
        while (message := self.receive()).kind != FREE:
            pass
        return bytes((message.first,))

    def _raise_end(self) -> NoReturn:
        what, tail, status = "ended before its job was done.", "", None
        try:
            self._child.finish()
        except ToolError as error:
            what, tail, status = f"failed: {error.what}", error.stderr_tail, error.exit_status_of_tool
        raise ToolError(
            f"The worker process {self._name} {what}",
            unchanged=_UNCHANGED,
            hint=_HINT,
            stderr_tail=tail,
            exit_status_of_tool=status,
        )


class Parent:
    """The worker's side of the connection to its parent process. The worker exits if the parent has ended."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self.sender = Sender(slots, announce=self._send_block, wait_free=self._receive_free)
        """Sends the blocks of a stream. The caller must send ``END`` after the last block."""

    def send(self, message: Message) -> None:
        """Send a message to the parent."""
        try:
            write_all(sys.stdout.fileno(), message.encoded())
        except BrokenPipeError:
            sys.exit("The parent process has ended.")

    def receive(self) -> Message:
        """Wait for the next message of the parent."""
        kind, first, second = _HEADER.unpack(_read(_HEADER.size))
        return Message(kind, first, second, _read(first) if kind in _WITH_PAYLOAD else b"")

    def streams(self) -> Iterator[tuple[bytes, TarBlocks]]:
        """Yield name and blocks of each stream of the parent. Read all blocks before the next stream."""
        while (message := self.receive()).kind == BEGIN:
            yield message.payload, self._blocks()

    def _blocks(self) -> TarBlocks:
        while (message := self.receive()).kind != END:
            yield self._slots.memory(message.second)[: message.first]
            self.send(Message(FREE, message.second))

    def _send_block(self, length: int, slot: int) -> None:
        self.send(Message(BLOCK, length, slot))

    def _receive_free(self) -> bytes:
        return bytes((self.receive().first,))


def run(main: Callable[[dict[str, Any], Parent], dict[str, Any]]) -> NoReturn:
    """Run a worker: wait for the job, call ``main`` with the job, and send the result or the error."""
    become(*map(int, sys.argv[2:]))
    with closing(Slots(int(sys.argv[1]))) as slots:
        parent = Parent(slots)
        (length,) = _LENGTH.unpack(_read(_LENGTH.size))
        try:
            parent.send(Message(RESULT, payload=json.dumps(main(json.loads(_read(length)), parent)).encode()))
        except (FilesError, IntegrityError) as error:
            parent.send(Message(FAILED, payload=json.dumps([type(error).__name__, *error.parts]).encode()))
            sys.exit(1)
    sys.exit(0)


def _read(size: int) -> bytes:
    """Return ``size`` bytes of stdin. If stdin ends before, the worker exits."""
    data = b""
    while len(data) < size:
        piece = os.read(sys.stdin.fileno(), size - len(data))
        if not piece:
            sys.exit("The input ended before the job was done.")
        data += piece
    return data
