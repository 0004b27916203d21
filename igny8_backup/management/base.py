"""Base class of the management commands: exit statuses, signals, progress and JSON output."""

from __future__ import annotations

import ctypes
import gc
import json
import math
import os
import signal
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter, _MutuallyExclusiveGroup
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from types import FrameType
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError

from igny8_backup.errors import BackupError
from igny8_backup.formats import records
from igny8_backup.management.progress import TextProgress, printable
from igny8_backup.operations.notify.report import Report

_M_ARENA_MAX = -8  # malloc.h of glibc


class Terminated(KeyboardInterrupt):
    """SIGTERM as an exception, so that stopping a container cleans up as Ctrl-C does."""


class BackupCommand(BaseCommand):
    """A command that parses its options, calls one operation and shows the result.

    Subclasses set ``help`` and ``examples`` and implement ``work``, which returns the exit status. An
    operation that fails raises :class:`~igny8_backup.errors.BackupError`; the command then ends with a
    :class:`CommandError` that has the same exit status, without a traceback. Django's system checks do not
    run first, because an unrelated wrong setting must not stop a backup or a restore.
    """

    examples = ""
    requires_system_checks: list[str] = []

    def run_from_argv(self, argv: list[str]) -> None:
        # What is imported by now stays to the end of this process. Collecting garbage among all of it when
        # the interpreter exits would take a tenth of a second.
        gc.freeze()
        share_arenas()
        super().run_from_argv(argv)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        kwargs.setdefault("formatter_class", RawDescriptionHelpFormatter)
        kwargs.setdefault("epilog", f"examples:\n{self.examples}" if self.examples else None)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--json", action="store_true", help="Print the result as JSON on standard output."
        )

    def add_ping_argument(self, parser: ArgumentParser) -> None:
        """Add ``--ping``, for commands that run unattended."""
        parser.add_argument(
            "--ping",
            default="",
            metavar="URL",
            help="Notify a cron monitor: request URL/start, then URL, or URL/fail with the error.",
        )

    def work(self, **options: Any) -> int:
        """Do the work and return the exit status."""
        raise NotImplementedError

    def handle(self, *args: Any, **options: Any) -> None:
        self.json, self._json_shown = options["json"], False
        try:
            with _terminable():
                status = self.work(**options)
        except BackupError as error:
            self._fail(str(error), error.exit_status, kind=type(error).__name__)
        except KeyboardInterrupt as error:
            number = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
            self._fail(
                f"Stopped by {number.name}. Unfinished work was cleaned up.", 128 + number, kind="Stopped"
            )
        if status:
            sys.stdout.flush()
            raise CommandError("Completed with problems; see above.", returncode=status)

    def say(self, text: str = "") -> None:
        """Print a line on standard output. Does nothing with ``--json``."""
        if not self.json:
            self.stdout.write(printable(text))
            self.stdout.flush()  # keeps the order of the two streams where both go into one log

    def show_lines(self, lines: Iterable[str]) -> None:
        """Print any number of lines; with ``--json`` each is a JSON object. Stops without an error when the
        reader of the output has closed it, as ``head`` does."""
        remaining = iter(lines)
        try:
            while batch := list(islice(remaining, 1000)):
                self._json_shown = True
                self.stdout.write("\n".join(batch if self.json else map(printable, batch)))
            self.stdout.flush()
        except BrokenPipeError:
            # Otherwise the interpreter would try to flush the buffer when it exits, and print a traceback.
            with open(os.devnull, "wb") as devnull:
                os.dup2(devnull.fileno(), sys.stdout.fileno())

    def warn(self, text: str) -> None:
        """Print a line on standard error."""
        self.stderr.write(printable(text))

    def show_json(self, value: Any) -> None:
        """Print the result as JSON if ``--json`` was given. A later failure prints no second JSON object."""
        if self.json:
            self._json_shown = True
            self.stdout.write(json.dumps(records.to_plain(value), indent=2, sort_keys=True))

    @contextmanager
    def progress(self) -> Iterator[TextProgress]:
        """Show progress on standard error: a live line on a terminal, an occasional plain line in a log."""
        with TextProgress(self.stderr) as shown:
            yield shown

    @contextmanager
    def reported(self, options: Mapping[str, Any]) -> Iterator[Report]:
        """As :meth:`progress`; also mail and ping how the command ended. See ``operations.notify.report``."""
        name = type(self).__module__.rpartition(".")[2]
        with self.progress() as shown, Report(name, shown, url=options["ping"]) as report:
            yield report

    def _fail(self, message: str, status: int, *, kind: str) -> NoReturn:
        if not self._json_shown:
            self.show_json({"error": kind, "message": message, "exit_status": status})
        raise CommandError(printable(message), returncode=status)


def share_arenas() -> None:
    """Make all threads of this process allocate memory from two arenas: mallopt(3), ``M_ARENA_MAX``.

    By default glibc gives each thread an arena of its own, and memory freed in one arena is not available to
    another. The many short-lived threads of this package and of libzstd would leave many large arenas. Does
    nothing with another C library.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


@contextmanager
def _terminable() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    try:
        previous = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # only the main thread may set signal handlers
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def add_wait_argument(parser: ArgumentParser | _MutuallyExclusiveGroup) -> None:
    """Add ``--wait``, for commands that hold the lock while they work."""
    parser.add_argument(
        "--wait",
        type=seconds,
        default=0,
        metavar="SECONDS",
        help="Wait up to this long for another run to end. Default: fail at once.",
    )


def seconds(text: str) -> float:
    """Parse a number of seconds from the command line."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(text)
    return number


def ask(question: str) -> str:
    """Return what is typed on the terminal, or an empty string at the end of input."""
    try:
        return input(question)
    except EOFError:
        return ""
