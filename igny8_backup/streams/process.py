"""Use programs as sources, sinks and filters of streams.

A stream from a program ends only after the program has been reaped with exit status 0. If the program failed,
the stream raises an exception. There is no time limit, because nobody knows how long a dump takes. Errors
never contain the environment of a program. Entry points: ``process_output``, ``feed_process``, ``filtered``,
``run_process``, ``wait_for_process``.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence

from igny8_backup.errors import ToolError
from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.account import Account
from igny8_backup.streams.child import Child

OUTPUT_LIMIT = 16 << 20
"""Largest output of ``run_process``, in bytes."""


def process_output(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    pass_fds: Collection[int] = (),
    run_as: Account | None = None,
) -> Blocks:
    """Yield the stdout of a program in blocks of ``BLOCK`` bytes; the last may be shorter.

    The program starts at the first ``next()``, with an empty stdin. Closing the stream stops the program.
    ``env`` replaces the environment; ``pass_fds`` are descriptors that the program inherits. ``run_as``: run
    the program as this user. Raises ``ToolMissingError`` if the program does not exist, ``ToolError`` if it
    fails.
    """
    child = Child(argv, env=env, pass_fds=pass_fds, read=True, run_as=run_as)
    with contextlib.closing(child):
        while block := child.read_block(BLOCK):
            yield block
        child.finish()


def feed_process(
    argv: Sequence[str],
    blocks: Blocks,
    *,
    env: Mapping[str, str] | None = None,
    pass_fds: Collection[int] = (),
    reads_all: bool = True,
    run_as: Account | None = None,
) -> None:
    """Write ``blocks`` to a program's stdin and wait until the program has succeeded.

    If the source raises, the program is stopped before its stdin is closed, so that it never takes incomplete
    input for complete; the source's exception is then raised unchanged. A program that stops reading early
    has failed, whatever its exit status. With ``reads_all=False`` it may stop early; the rest of the source
    is still read, because only the end of a stream proves that it is complete and unaltered. The program's
    stdout becomes part of its error messages, like stderr.
    Raises ``ToolMissingError``, ``ToolError``, and the exceptions of the source.
    """
    with contextlib.closing(blocks):
        child = Child(argv, env=env, pass_fds=pass_fds, feed=True, run_as=run_as)
        with contextlib.closing(child):
            for block in blocks:
                if not child.write(block):
                    child.finish()
                    if not reads_all:
                        collections.deque(blocks, maxlen=0)
                        return
                    raise _stopped_early(child)
            child.close_stdin()
            child.finish()


def filtered(
    blocks: Blocks,
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    pass_fds: Collection[int] = (),
    run_as: Account | None = None,
) -> Blocks:
    """Write ``blocks`` to a program's stdin and yield its stdout meanwhile.

    The stream ends only after both the source and the program have succeeded. A program that stops reading
    early has failed. Raises ``ToolMissingError``, ``ToolError``, and the exceptions of the source.
    """
    with contextlib.closing(blocks):
        child = Child(argv, env=env, pass_fds=pass_fds, feed=True, read=True, run_as=run_as)
        with contextlib.closing(child):
            for block in blocks:
                yield from child.pump(block)
                if not child.reading:
                    child.finish()
                    raise _stopped_early(child)
            child.close_stdin()
            while block := child.read_block(BLOCK):
                yield block
            child.finish()


def run_process(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    pass_fds: Collection[int] = (),
    input: bytes | None = None,
    run_as: Account | None = None,
) -> bytes:
    """Run a program whose output is small, and return its stdout.

    ``input`` is written to its stdin; the program need not read it all (``pg_restore --list`` reads only the
    head of an archive). ``run_as``: run the program as this user, which only root may do. Raises
    ``ToolMissingError`` if the program does not exist, ``ToolError`` if it fails or writes more than
    ``OUTPUT_LIMIT`` bytes.
    """
    child = Child(argv, env=env, pass_fds=pass_fds, feed=input is not None, read=True, run_as=run_as)
    with contextlib.closing(child):
        output = child.exchange(input or b"", OUTPUT_LIMIT + 1)
        if len(output) > OUTPUT_LIMIT:
            raise ToolError(
                f"{child.name} wrote more than {OUTPUT_LIMIT} bytes, far more than usual. It was stopped.",
                hint=f"Check that {child.name} is the real program, not another one of the same name.",
                stderr_tail=child.stderr_tail,
            )
        child.finish()
        return output


def wait_for_process(
    argv: Sequence[str],
    check: Callable[[], None],
    *,
    env: Mapping[str, str] | None = None,
    pass_fds: Collection[int] = (),
    run_as: Account | None = None,
) -> None:
    """Run a program that reads nothing, and whose output matters only if it fails.

    ``check`` is called several times a second. If it raises an exception, the program is stopped. Raises the
    exceptions of ``check`` and those of :func:`feed_process`.
    """
    child = Child(argv, env=env, pass_fds=pass_fds, run_as=run_as)
    with contextlib.closing(child):
        child.finish(check)


def _stopped_early(child: Child) -> ToolError:
    message = f" Its message: {child.stderr_tail}" if child.stderr_tail else ""
    return ToolError(
        f"{child.name} ended before it had read all of its input.{message}",
        hint=f"Check that {child.name} is the real program, not another one of the same name. Then run the"
        " command again.",
        stderr_tail=child.stderr_tail,
        exit_status_of_tool=0,
    )
