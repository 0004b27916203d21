"""Programs as sources and sinks: their stdout as blocks, blocks into their stdin.

A program that fails never looks like one that has finished: the end of its output is told only after it has
been reaped with exit status 0. Nothing here has a time limit: a dump takes as long as it takes. The
environment given to a program appears in no error.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Collection, Mapping, Sequence

from igny8_backup.errors import ToolError
from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.child import Child

OUTPUT_LIMIT = 16 << 20
"""Bytes of output that ``run_process`` takes unless told otherwise."""


def process_output(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    pass_fds: Collection[int] = (),
    stdin: int | None = None,
    user: str | None = None,
) -> Blocks:
    """What the program writes to stdout, in blocks of ``BLOCK`` bytes; the last may be shorter.

    The program starts at the first ``next()``. ``env`` replaces the environment, ``stdin`` is a descriptor
    for the child (default: nothing to read), ``user`` a system user to run as (needs root).
    Raises ``ToolMissingError`` if there is no such program, ``ToolError`` if it fails. Closing stops it.
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
    whole: bool = True,
) -> None:
    """Push ``blocks`` into the program's stdin and wait until it has ended well.

    When the source raises, the program is stopped before its stdin is closed, so that it never takes the
    break for the end of its input; then the source's error goes on as it is. A program that stops reading
    early has failed, whatever its exit status; without ``whole`` it may, and the rest is read all the same,
    because only the end tells that the source was good. Its stdout is taken for stderr.
    Raises ``ToolMissingError``, ``ToolError``, and what the source raises.
    """
    with contextlib.closing(blocks):
        child = Child(argv, env=env, cwd=cwd, pass_fds=pass_fds, user=user, feed=True)
        with contextlib.closing(child):
            for block in blocks:
                if not child.write(block):
                    child.finish()
                    if not whole:
                        collections.deque(blocks, maxlen=0)
                        return
                    said = f" It said: {child.stderr_tail}" if child.stderr_tail else ""
                    raise ToolError(
                        f"{child.name} ended before it had read all of its input.{said}",
                        stderr_tail=child.stderr_tail,
                        exit_status_of_tool=0,
                    )
            child.close_stdin()
            child.finish()


def filtered(
    blocks: Blocks,
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    pass_fds: Collection[int] = (),
) -> Blocks:
    """What the program makes of ``blocks``: they go into its stdin, its stdout comes out, side by side.

    The end is told only when the source has ended well and the program too. One that stops reading early has
    failed. Raises ``ToolMissingError``, ``ToolError``, and what the
    source raises.
    """
    with contextlib.closing(blocks):
        child = Child(argv, env=env, pass_fds=pass_fds, feed=True, read=True)
        with contextlib.closing(child):
            for block in blocks:
                yield from child.pump(block)
                if not child.reading:
                    child.finish()
                    raise ToolError(f"{child.name} ended before it had read all of its input.")
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

    ``input`` goes to its stdin; what the program leaves unread of it is no failure (``pg_restore --list``
    reads the head of an archive only). Raises ``ToolMissingError`` if there is no such program, ``ToolError``
    if it fails or writes more than ``limit`` bytes.
    """
    child = Child(argv, env=env, cwd=cwd, pass_fds=pass_fds, user=user, feed=input is not None, read=True)
    with contextlib.closing(child):
        output = child.exchange(input or b"", limit + 1)
        if len(output) > limit:
            raise ToolError(f"{child.name} wrote more than {limit} bytes.", stderr_tail=child.stderr_tail)
        child.finish()
        return output
