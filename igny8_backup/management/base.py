"""What every command shares: exit statuses, signals, progress, JSON."""

from __future__ import annotations

import gc
import json
import math
import os
import signal
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter, _MutuallyExclusiveGroup
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from types import FrameType
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError

from igny8_backup.errors import BackupError
from igny8_backup.formats import records
from igny8_backup.management.progress import TextProgress, printable
from igny8_backup.operations.notify.report import Report
from igny8_backup.streams.malloc import share_arenas


class Terminated(KeyboardInterrupt):
    """SIGTERM, as an exception: what unwinds on Ctrl-C unwinds on a container's stop as well."""


class BackupCommand(BaseCommand):
    """A command that parses, calls one operation and shows its result.

    Subclasses set ``help`` and ``examples`` and implement ``work``, which returns the exit status. Failures
    of operations become :class:`CommandError` with their exit status: no traceback for what can be foreseen.
    System checks do not run by themselves: a broken setting elsewhere must not stop a backup or a restore.
    """

    examples = ""
    requires_system_checks: list[str] = []

    def run_from_argv(self, argv: list[str]) -> None:
        # This process is the command's alone, and what is imported by now stays to its end: to collect
        # garbage among all that when the interpreter ends would take a tenth of a second.
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

    def add_wait_argument(self, parser: ArgumentParser | _MutuallyExclusiveGroup) -> None:
        """For commands that keep other runs out while they work."""
        parser.add_argument(
            "--wait",
            type=seconds,
            default=0,
            metavar="SECONDS",
            help="Wait so long for another run to end, instead of failing at once.",
        )

    def add_ping_argument(self, parser: ArgumentParser) -> None:
        """For commands that run unattended."""
        parser.add_argument(
            "--ping",
            default="",
            metavar="URL",
            help="Tell a monitor of cron jobs: URL/start, then URL, or URL/fail with what went wrong.",
        )

    def work(self, **options: Any) -> int:
        """Does the work; returns the exit status."""
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
                f"Stopped by {number.name}; what was begun is cleaned up.", 128 + number, kind="Stopped"
            )
        if status:
            sys.stdout.flush()
            raise CommandError("Done, but not all of it: see above.", returncode=status)

    def say(self, text: str = "") -> None:
        """A line for people; silent with ``--json``."""
        if not self.json:
            self.stdout.write(printable(text))
            self.stdout.flush()  # or, in a log, it would come after what standard error says later

    def show_lines(self, lines: Iterable[str]) -> None:
        """Any number of lines; with ``--json`` each is an object, and a failure after the first adds nothing.
        Where nobody reads on (``| head``), that is the end of it."""
        left = iter(lines)
        try:
            while some := list(islice(left, 1000)):
                self._json_shown = True
                self.stdout.write("\n".join(some if self.json else map(printable, some)))
            self.stdout.flush()
        except BrokenPipeError:
            # What is still buffered must not be tried again, with a traceback, when the interpreter ends.
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())

    def warn(self, text: str) -> None:
        """A line on standard error."""
        self.stderr.write(printable(text))

    def show_json(self, value: Any) -> None:
        """The result for scripts, with ``--json`` only. A failure that comes after it adds nothing to it."""
        if self.json:
            self._json_shown = True
            self.stdout.write(json.dumps(records.to_plain(value), indent=2, sort_keys=True))

    @contextmanager
    def progress(self) -> Iterator[TextProgress]:
        """Progress on standard error: a live line on a terminal, plain lines now and then elsewhere."""
        with TextProgress(self.stderr) as shown:
            yield shown

    @contextmanager
    def reported(self, options: Mapping[str, Any]) -> Iterator[Report]:
        """A :meth:`progress` that also tells others how the command ended: see ``operations.reporting``."""
        name = type(self).__module__.rpartition(".")[2]
        with self.progress() as shown, Report(name, shown, url=options["ping"]) as report:
            yield report

    def _fail(self, message: str, status: int, *, kind: str) -> NoReturn:
        if not self._json_shown:
            self.show_json({"error": kind, "message": message, "exit_status": status})
        raise CommandError(printable(message), returncode=status)


@contextmanager
def _terminable() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    try:
        previous = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # Not the main thread: signals are somebody else's.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def seconds(text: str) -> float:
    """A time to wait, as given on the command line."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(text)
    return number


def ask(question: str) -> str:
    """What is typed on the terminal; nothing at the end of input."""
    try:
        return input(question)
    except EOFError:
        return ""
