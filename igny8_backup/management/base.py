"""Base class of the management commands: exit statuses, signals, progress and JSON output."""

from __future__ import annotations

import gc
import json
import math
import os
import signal
import sys
import traceback
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Protocol

from django.core.management.base import BaseCommand, CommandError

from igny8_backup.common.humanize import indented, one_line, printable
from igny8_backup.common.memory import return_large_memory, share_arenas
from igny8_backup.errors import BackupError, UsageError
from igny8_backup.formats import records
from igny8_backup.management.output import Output, Unstyled
from igny8_backup.management.progress import TextProgress
from igny8_backup.operations.guards.genuine import Accept
from igny8_backup.operations.guards.green_threads import refuse_eventlet
from igny8_backup.operations.notify.report import Report
from igny8_backup.streams.interrupts import handling

_CLEANED_UP = "Unfinished work was cleaned up; a later run cleans up what could not be reached."
_DONE = "The work of the command is done: look at its result with list_backups or show_backup."


class Terminated(KeyboardInterrupt):
    """The exception that SIGTERM or SIGHUP raises in a command.

    Stopping a container or closing a terminal then cleans up as Ctrl-C does.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = signal.Signals(number)


class Plan(Protocol):
    """What an operation is going to do. A command shows the plan before it asks for confirmation."""

    def require_feasible(self) -> None:
        """Raise :class:`~igny8_backup.errors.BackupError` if the plan cannot be carried out."""


class BackupCommand(BaseCommand):
    """A command that parses its options, calls one operation and shows the result.

    Subclasses set ``help`` and ``examples`` and implement ``work``. If the operation raises
    :class:`~igny8_backup.errors.BackupError`, the command ends with a :class:`CommandError` that has the same
    message and exit status, without a traceback. Django's system checks do not run first, because an
    unrelated wrong setting must not stop a backup or a restore.
    """

    examples = ""
    requires_system_checks: list[str] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # https://no-color.org: Django looks at DJANGO_COLORS only.
        super().__init__(*args, **{**kwargs, **({"no_color": True} if os.environ.get("NO_COLOR") else {})})
        style = getattr(self.stderr, "style_func", None)
        self.stdout, self.stderr = Output.around(self.stdout), Output.around(self.stderr)
        self.stderr.style_func = style

    def run_from_argv(self, argv: list[str]) -> None:
        # Imported modules stay until the process ends. Without this, the garbage collector would examine all
        # their objects when the interpreter exits, which takes a tenth of a second.
        gc.freeze()
        share_arenas()
        return_large_memory()
        try:
            super().run_from_argv(argv)
        except CommandError as error:  # only with --traceback
            self.stderr.write("".join(traceback.format_exception(error)))
            sys.exit(error.returncode)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        # Without further arguments: libraries replace this method of Django by others that take none
        # (django-configurations).
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = f"examples:\n{self.examples}" if self.examples else None
        return parser

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print the result as JSON.")

    def add_ping_argument(self, parser: ArgumentParser) -> None:
        """Add ``--ping``, for commands that run unattended."""
        text = "Notify a cron monitor: request URL/start, then URL, or URL/fail with the error."
        parser.add_argument("--ping", default="", metavar="URL", help=text)

    def work(self, **options: Any) -> int:
        """Do the work and return the exit status."""
        raise NotImplementedError

    def handle(self, *args: Any, **options: Any) -> None:
        self.json, self._json_shown = options["json"], False
        try:
            refuse_eventlet("This program", hint="Start commands without eventlet.monkey_patch().")
            with _terminable():
                status = self.work(**options)
        except BackupError as error:
            self._fail(str(error), error.exit_status, kind=type(error).__name__)
        except KeyboardInterrupt as error:
            number = error.number if isinstance(error, Terminated) else signal.SIGINT
            self._fail(f"Stopped by {number.name}. {_CLEANED_UP}", 128 + number, kind="Stopped")
        if lost := getattr(self.stdout, "lost", ""):
            raise CommandError(f"{lost} {_DONE}", returncode=status or 3)
        if status:
            raise CommandError("Completed with problems; see above.", returncode=status)

    def say(self, *lines: str) -> None:
        """Print lines on standard output. Does nothing with ``--json``."""
        if not self.json:
            for line in lines:
                self.stdout.write(one_line(line))

    def say_text(self, text: str) -> None:
        """Print a text of several lines, such as a table, on standard output, but not with ``--json``."""
        if not self.json:
            self.stdout.write(printable(text))

    def show_lines(self, lines: Iterable[str]) -> None:
        """Print lines as they are produced; with ``--json`` each of them is a JSON object.

        Stops when the reader of the output has closed it, as ``head`` does.
        """
        remaining = iter(lines)
        while not getattr(self.stdout, "reader_gone", False) and (batch := list(islice(remaining, 1000))):
            self._json_shown = True
            self.stdout.write("\n".join(batch if self.json else map(one_line, batch)))

    def warn(self, *texts: str) -> None:
        """Print texts on standard error, each on a line; further lines of a text are indented."""
        for text in texts:
            self.stderr.write(indented(text))

    def show_plan(self, plan: Plan, lines: Iterable[str], as_json: Any, *, dry_run: bool) -> bool:
        """Show a plan; return whether to carry it out, which is false for a dry run.

        ``lines`` and ``as_json`` are the plan for people and, in a dry run with ``--json``, for scripts.
        Raises :class:`~igny8_backup.errors.BackupError` if the plan is not feasible.
        """
        self.say(*lines)
        if dry_run:
            self.show_json(as_json)
        plan.require_feasible()
        if dry_run:
            self.say("Dry run: nothing was changed.")
        return not dry_run

    def show_json(self, value: Any) -> None:
        """Print ``value`` as JSON if ``--json`` was given.

        If the command fails afterwards, the error is not printed as JSON too: scripts expect one document.
        """
        if self.json:
            self._json_shown = True
            self.stdout.write(json.dumps(records.to_plain(value), indent=2, sort_keys=True))

    @contextmanager
    def progress(self) -> Iterator[TextProgress]:
        """Show progress on standard error while the block runs. See :class:`TextProgress`."""
        with TextProgress(Unstyled(self.stderr)) as shown:
            yield shown

    @contextmanager
    def reported(self, options: Mapping[str, Any]) -> Iterator[Report]:
        """Show progress while the block runs, then report its outcome to people and to the ``--ping`` URL."""
        name = type(self).__module__.rpartition(".")[2]
        with self.progress() as shown, Report(name, shown, url=options["ping"]) as report:
            yield report

    def _fail(self, message: str, status: int, *, kind: str) -> NoReturn:
        if not self._json_shown:
            self.show_json({"error": kind, "message": message, "exit_status": status})
        raise CommandError(printable(message), returncode=status)


def _terminable() -> AbstractContextManager[None]:
    """Within the block, raise ``Terminated`` on SIGTERM and, unless nohup(1) ignores it, on SIGHUP."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated(number)

    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return handling(stop, signal.SIGTERM, *(() if ignored else (signal.SIGHUP,)))


def add_identity_argument(parser: ArgumentParser, purpose: str = "") -> None:
    """Add ``--identity`` and the options ``--accept-...``, for commands that read the contents of backups.

    ``purpose`` completes the help text of ``--identity``.
    """
    text = f"The file with the private key{purpose}."
    parser.add_argument("--identity", type=Path, metavar="FILE", help=text)
    text = "Also read unencrypted backups, made before RECIPIENTS was set. Only if you trust their storage."
    parser.add_argument("--accept-unencrypted", action="store_true", help=text)
    text = "Also read backups without a signature that TRUSTED accepts. Only if you trust their storage."
    parser.add_argument("--accept-unsigned", action="store_true", help=text)
    text = "Read the backup ID although it was made in another environment or PREFIX, or on another host."
    parser.add_argument("--accept-foreign", action="store_true", help=text)


def accepted(options: Mapping[str, Any]) -> Accept:
    """Return what the options ``--accept-...`` allow a command to read. Raises ``UsageError``."""
    if options["accept_foreign"] and not options.get("id"):
        raise UsageError(
            "--accept-foreign needs the ID of the backup.",
            unchanged="Nothing was read.",
            hint="Add the id that list_backups shows.",
        )
    return Accept(
        unencrypted=options["accept_unencrypted"],
        unsigned=options["accept_unsigned"],
        foreign=options["accept_foreign"],
    )


def seconds(text: str) -> float:
    """Parse a number of seconds. Raises ``ValueError`` if it is negative, infinite or no number."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(text)
    return number
