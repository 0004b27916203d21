"""``manage.py demo``: show a backup and a restore with a temporary server and folder."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from demo.environment import kept
from demo.steps import StepFailed
from demo.story import Different, Story
from demo.workplace import Workplace, WorkplaceError


class Command(BaseCommand):
    help = (
        "Start a PostgreSQL of its own, fill an application, back it up, destroy it, restore it, compare. "
        "Needs no database, no service and no setting. Everything lies in one folder, .demo beside manage.py."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--rows", type=int, default=200_000, help="at least so many rows (200000)")
        parser.add_argument("--files", type=int, default=5_000, help="at least so many files (5000)")
        parser.add_argument(
            "--folder", type=Path, default=Path(settings.BASE_DIR) / ".demo", help="where to work (.demo)"
        )
        text = "afterwards, serve the admin with the page about the backups, until Ctrl-C"
        parser.add_argument("--serve", action="store_true", help=text)

    def handle(self, *, rows: int, files: int, folder: Path, serve: bool, **options: Any) -> None:
        signal.signal(signal.SIGTERM, _stop)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal that is not UTF-8 shows what it can
        try:
            with Workplace(folder.resolve()) as place:
                Story(place, kept(os.environ), self._say).tell(rows, files, serve=serve)
        except (Different, OSError, RuntimeError, StepFailed, WorkplaceError) as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError("Stopped; the server is stopped as well.", returncode=130) from None

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _stop(number: int, frame: FrameType | None) -> None:
    """End the demo on SIGTERM as on Ctrl-C."""
    raise KeyboardInterrupt
