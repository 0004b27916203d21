"""Use programs as sources, sinks and filters of streams.

A stream from a program ends only after the program has been reaped with exit status 0; a program that failed
raises. There are no time limits, because a dump takes as long as it takes. Errors never contain the
environment of a program. Entry points: ``process_output``, ``feed_process``, ``filtered``, ``run_process``.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Collection, Mapping, Sequence

from igny8_backup.errors import ToolError
from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.child import Child

OUTPUT_LIMIT = 16 << 20
"""Default for the largest output of ``run_process``, in bytes."""


def process_output(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    pass_fds: Collection[int] = (),
    stdin: int | None = None,
    user: str | None = None,
) -> Blocks:
    """Yield what a program writes to stdout, in blocks of ``BLOCK`` bytes; the last may be shorter.

    The program starts at the first ``next()``. ``env`` replaces the environment, ``stdin`` is a descriptor
    for the child (default: empty input), ``user`` a system user to run as (needs root). Raises
    ``ToolMissingError`` if the program does not exist, ``ToolError`` if it fails. Closing the stream stops
    the program.
    """
    child = Child(argv, env=env, cwd=cwd, pass_fds=pass_fds, user=user, stdin=stdin, read=True)
    with contextlib.closing(child):
        while block := child.read_block(BLOCK):
            yield block
        child.finish()


def feed_process(
    argv: Sequence[str],
    blocks: Blocks,
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    pass_fds: Collection[int] = (),
    user: str | None = None,
    reads_all: bool = True,
) -> None:
    """Write ``blocks`` to a program's stdin and wait until the program has succeeded.

    If the source raises, the program is stopped before its stdin is closed, so that it never takes incomplete
    input for complete; the source's exception is then raised unchanged. A program that stops reading early
    has failed, whatever its exit status. With ``reads_all=False`` it may stop early; the rest of the source
    is read all the same, because only its end proves it good. The program's stdout is treated as stderr.
    Raises ``ToolMissingError``, ``ToolError``, and the exceptions of the source.
    """
    with contextlib.closing(blocks):
        child = Child(argv, env=env, cwd=cwd, pass_fds=pass_fds, user=user, feed=True)
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
) -> Blocks:
    """Write ``blocks`` to a program's stdin and yield what it writes to stdout meanwhile.

    The stream ends only after both the source and the program have succeeded. A program that stops reading
    early has failed. Raises ``ToolMissingError``, ``ToolError``, and the exceptions of the source.
    """
    with contextlib.closing(blocks):
        child = Child(argv, env=env, pass_fds=pass_fds, feed=True, read=True)
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
    cwd: str | None = None,
    pass_fds: Collection[int] = (),
    user: str | None = None,
    input: bytes | None = None,
    limit: int = OUTPUT_LIMIT,
) -> bytes:
    """Run a program whose output is small, and return its stdout.

    ``input`` is written to its stdin; the program need not read it all (``pg_restore --list`` reads only the
    head of an archive). Raises ``ToolMissingError`` if the program does not exist, ``ToolError`` if it fails
    or writes more than ``limit`` bytes.
    """
    child = Child(argv, env=env, cwd=cwd, pass_fds=pass_fds, user=user, feed=input is not None, read=True)
    with contextlib.closing(child):
        output = child.exchange(input or b"", limit + 1)
        if len(output) > limit:
            raise ToolError(
                f"{child.name} wrote more than {limit} bytes.",
                hint=f"Check that {child.name} is the program that its name says.",
                stderr_tail=child.stderr_tail,
            )
        child.finish()
        return output


def _stopped_early(child: Child) -> ToolError:
    message = f" Its message: {child.stderr_tail}" if child.stderr_tail else ""
    return ToolError(
        f"{child.name} ended before it had read all of its input.{message}",
        hint=f"Check that {child.name} is the program that its name says, then run the command again.",
        stderr_tail=child.stderr_tail,
        exit_status_of_tool=0,
    )
