"""Processes of our own for the work on small files: how one is started, fed and heard.

Python works on files with one thread at a time; beside such a process, this one encodes, decodes and talks
to the storage. Blocks go through shared memory (``streams.slots``), messages about them through pipes.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, NoReturn

from igny8_backup.errors import BackupError, FilesError, IntegrityError, ToolError
from igny8_backup.streams import Blocks
from igny8_backup.streams.child import Child
from igny8_backup.streams.shared_memory import Sender, Slots
from igny8_backup.trees.tar.blocks import TarBlocks

MESSAGE = struct.Struct(">BQQ")
"""One of the kinds, and two numbers: so little is written whole or not at all (PIPE_BUF in pipe(7))."""
BLOCK, END, PROGRESS, PACK = range(4)
"""A block of a pack or an index: its length, and its slot, whose number comes back as one byte when it is
free again; the end of it: nothing; progress: files and bytes of contents so far; a pack that begins: the
length of its name, which follows."""

_LENGTH = struct.Struct(">I")
"""Bytes of the job, which follows: JSON."""

_STATUS: dict[type[BackupError], int] = {FilesError: 3, IntegrityError: 6}
"""Exit statuses of a process that has told an error on stderr."""


@contextmanager
def own_process(module: str) -> Iterator[tuple[Child, Slots]]:
    """Runs ``python -m MODULE FD``; gives the child, whose stdin and stdout are pipes, and the memory. It
    waits for its job (``give_job``).

    Left early, it is stopped.
    """
    with closing(Slots()) as slots:
        argv = [sys.executable, "-m", module, str(slots.fd)]
        path = os.pathsep.join(path or os.getcwd() for path in sys.path)
        env = {"PYTHONPATH": path, "PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
        with closing(Child(argv, env=env, pass_fds=(slots.fd,), feed=True, read=True)) as child:
            yield child, slots


def give_job(child: Child, job: dict[str, Any]) -> None:
    """Tells the process what to do. One that has failed already tells that when it is read or finished."""
    data = json.dumps(job).encode()
    child.write(_LENGTH.pack(len(data)) + data)


def sender(child: Child, slots: Slots) -> Sender:
    """What hands blocks to the process (``send``)."""

    def tell(length: int, slot: int) -> None:
        child.write(MESSAGE.pack(BLOCK, length, slot))

    return Sender(slots, tell=tell, freed=lambda: child.read_block(1))


def send(child: Child, sender: Sender, blocks: Blocks) -> None:
    """All of the ``blocks``, and that they have ended well. Raises what they raise, and as ``finish`` where
    the process takes no more."""
    with closing(blocks):
        try:
            for block in blocks:
                sender.send(block)
            sender.flush()
        except BrokenPipeError:
            finish(child)
            raise ToolError(
                "A process of ours that works on the files ended before it had read all."
            ) from None
        child.write(MESSAGE.pack(END, 0, 0))


def finish(child: Child) -> None:
    """Waits for its end. Raises what the process has told, ``ToolError`` when it failed otherwise."""
    try:
        child.finish()
    except ToolError as error:
        found = error.exit_status_of_tool
        for kind, status in _STATUS.items():
            if found == status:
                raise _error(error.stderr_tail, kind) from None
        if found is not None and found < 0:
            raise ToolError(
                f"The process of ours that works on the files did not come to its end: {error}",
                hint="Run again. If it happens again, find out who ends it: where memory is short it is the"
                " kernel, and its log says so (dmesg).",
                exit_status_of_tool=found,
            ) from None
        raise


def run(main: Callable[[dict[str, Any], Slots], None]) -> NoReturn:
    """The other side: waits for its job, does it, and tells the error that ends it."""
    try:
        with closing(Slots(int(sys.argv[1]))) as slots:
            (length,) = _LENGTH.unpack(_read(_LENGTH.size))
            main(json.loads(_read(length)), slots)
    except (FilesError, IntegrityError) as error:
        what, unchanged, hint = error.parts
        print(json.dumps({"what": what, "unchanged": unchanged, "hint": hint}), file=sys.stderr)
        sys.exit(_STATUS[type(error)])
    sys.exit(0)


def received(slots: Slots) -> TarBlocks:
    """What is sent (``send``) to this process, to its end."""
    while True:
        kind, length, slot = heard()
        if kind == END:
            return
        yield slots.room(slot)[:length]
        os.write(sys.stdout.fileno(), bytes((slot,)))


def heard() -> tuple[int, int, int]:
    """The next message to this process, which ends where there is none."""
    message = os.read(sys.stdin.fileno(), MESSAGE.size)
    if not message:
        sys.exit("What was sent was not told to its end.")
    kind, one, other = MESSAGE.unpack(message)
    return kind, one, other


def _read(size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(sys.stdin.fileno(), size - len(data))
        if not piece:
            sys.exit("There is nothing to do.")
        data += piece
    return data


def _error(said: str, kind: type[BackupError]) -> BackupError:
    """The error that was told; the bare text where it was too long to be kept whole."""
    try:
        return kind(**json.loads(said))
    except ValueError:
        return kind(said)
