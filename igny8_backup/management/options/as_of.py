"""The option ``--as-of``: read the storage as it was at an earlier time."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from datetime import datetime

from django.utils import timezone


def add_as_of_argument(parser: ArgumentParser) -> None:
    """Add ``--as-of``. Its value is an aware time, or ``None`` if the option is not given."""
    text = "Read the storage as it was at TIME (2026-11-20T18:30). The bucket must keep versions."
    parser.add_argument("--as-of", type=parse_time, metavar="TIME", help=text)


def parse_time(text: str) -> datetime:
    """Parse a time in the past, such as ``2026-11-20T18:30``, in the time zone of the project.

    Raises ``ArgumentTypeError`` for any other text.
    """
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if timezone.is_aware(moment) else timezone.make_aware(moment)
    except (ValueError, OverflowError) as error:
        raise ArgumentTypeError(f"{text!r} is not a time such as 2026-11-20T18:30.") from error
    if moment > timezone.now():
        raise ArgumentTypeError(f"{text!r} is in the future.")
    return moment
