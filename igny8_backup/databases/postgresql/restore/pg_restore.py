"""Run ``pg_restore`` on a staging database: :class:`PgRestore`."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.databases.postgresql.client_access import client_access
from igny8_backup.databases.postgresql.clients import Client
from igny8_backup.databases.postgresql.connections.connection import Connection
from igny8_backup.databases.postgresql.hints import hint_for, one_line
from igny8_backup.databases.postgresql.restore.archive.toc import Contents, Entry, joined, use_list
from igny8_backup.databases.redact import without_values
from igny8_backup.errors import ToolError
from igny8_backup.streams import Blocks, stderr_tail
from igny8_backup.streams.account import Account
from igny8_backup.streams.private_file import memory_file, private_file
from igny8_backup.streams.process import feed_process, wait_for_process

# pg_restore 17 and later set transaction_timeout, which older servers do not know.
_NEW_SETTING_MAJOR = 17
_REFUSED_SETTING = re.compile(
    r"^[^\n]*transaction_timeout[^\n]*\nCommand was: SET transaction_timeout = 0;\s*", re.MULTILINE
)


@dataclass(frozen=True)
class PgRestore:
    """Runs ``pg_restore`` with the options ``argv`` on the database ``staging``.

    ``tolerant``: ignore the error that the server does not know a setting which ``pg_restore`` sets. Then
    ``argv`` must not contain ``--exit-on-error``.
    """

    staging: Connection
    argv: tuple[str, ...]
    scratch: Path
    run_as: Account | None
    tolerant: bool

    def stream(
        self, contents: Contents, blocks: Blocks, entries: Sequence[Entry], *, reads_all: bool
    ) -> None:
        """Restore ``entries`` of an archive over one connection.

        The archive consists of its beginning ``contents`` and the rest, ``blocks``. With ``reads_all`` false,
        ``pg_restore`` may stop reading early.
        """
        with closing(blocks), self._errors(), ExitStack() as stack:
            if not entries:
                deque(blocks, maxlen=0)  # only the end proves that the archive is unaltered
                return
            options: tuple[str, ...] = ()
            fds: tuple[int, ...] = ()
            if len(entries) < len(contents.entries):
                option, fd = stack.enter_context(self._list(entries))
                options, fds = (option,), (fd,)
            access = stack.enter_context(client_access(self.staging, self.scratch, self.run_as))
            feed_process(
                [*self.argv, *access.arguments, *options],
                joined(contents, blocks),
                env=access.env,
                pass_fds=(*fds, *access.pass_fds),
                reads_all=reads_all,
                run_as=self.run_as,
            )

    def from_contents(
        self,
        contents: Contents,
        entries: Sequence[Entry],
        *,
        jobs: int,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Restore ``entries``, which have no rows, over ``jobs`` connections.

        Only ``contents``, the beginning of the archive with the table of contents, is read. ``check`` is
        called several times a second; if it raises an exception, ``pg_restore`` is stopped.
        """
        # Each job opens the archive by its path, for which it must inherit the descriptor.
        with (
            self._errors(),
            memory_file(contents.head, self.scratch, owner=self.run_as) as (fd, path),
            self._list(entries) as (option, list_fd),
            client_access(self.staging, self.scratch, self.run_as) as access,
        ):
            wait_for_process(
                [*self.argv, *access.arguments, option, *[f"--jobs={jobs}"] * (jobs > 1), path],
                check,
                env=access.env,
                pass_fds=(*access.pass_fds, fd, list_fd),
                run_as=self.run_as,
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Explain an error of ``pg_restore``, or ignore it if it may be tolerated."""
        try:
            yield
        except ToolError as error:
            if not (self.tolerant and _only_setting_refused(error)):
                raise _with_hint(error, self.staging.alias) from None

    @contextmanager
    def _list(self, entries: Iterable[Entry]) -> Iterator[tuple[str, int]]:
        """Write a list file with which ``pg_restore`` restores only ``entries``.

        Yields the option that names the file, and the descriptor of the file, which ``pg_restore`` must
        inherit.
        """
        with private_file(self.scratch, use_list(entries), owner=self.run_as) as (file, path):
            yield f"--use-list={path}", file.fileno()


def sends_unknown_setting(program: Client, server_major: int) -> bool:
    """Return whether ``program``, a ``pg_restore``, sends a setting that the server is too old to know.

    ``server_major`` is the major version of the server.
    """
    return program.major >= _NEW_SETTING_MAJOR > server_major


def _only_setting_refused(error: ToolError) -> bool:
    """Return whether the server refused only a setting that it is too old to know.

    In that case ``pg_restore``, which is newer and ran without ``--exit-on-error``, has restored everything
    and ended with status 1. Returns false if stderr was shortened, because the missing part could contain
    another error.
    """
    complete = len(error.stderr_tail.encode()) < stderr_tail.HEAD + stderr_tail.TAIL - 64
    rest = _REFUSED_SETTING.sub("", error.stderr_tail)
    ended = re.search(r"^pg_restore: warning: errors ignored on restore: \d+\Z", rest, re.MULTILINE)
    return complete and error.exit_status_of_tool == 1 and bool(ended) and "pg_restore: error:" not in rest


def _with_hint(error: ToolError, alias: str) -> ToolError:
    """Return a copy of the error of ``pg_restore``, on one line, with a hint and without values of rows."""
    stderr = _REFUSED_SETTING.sub("", error.stderr_tail)
    text = error.what.replace(error.stderr_tail, stderr) if stderr else error.what
    general = "Remove the cause that pg_restore reports, or restore to a server like the one that was dumped."
    return type(error)(
        one_line(text),
        unchanged="The live database was not changed.",
        hint=hint_for(text, alias=alias) or general,
        stderr_tail=without_values(error.stderr_tail),
        exit_status_of_tool=error.exit_status_of_tool,
    )
