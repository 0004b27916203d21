"""The options of ``list_backups`` that choose backups, and the days that group its table."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from itertools import groupby
from typing import Any

from igny8_backup.catalog.backups import Entry
from igny8_backup.management.options.as_of import parse_time


def add_choosing_arguments(parser: ArgumentParser) -> None:
    """Add ``--host``, ``--part`` and ``--since``."""
    parser.add_argument("--host", default="", metavar="HOST", help="List only the backups of this host.")
    text = "List only backups that contain this database or tree, or tried to."
    parser.add_argument("--part", default="", metavar="NAME", help=text)
    text = "List only backups since TIME (2026-11-20, or 2026-11-20T18:30)."
    parser.add_argument("--since", type=parse_time, metavar="TIME", help=text)


def chosen_entries(entries: Iterable[Entry], options: Mapping[str, Any]) -> list[Entry]:
    """Return the backups that match the options.

    A backup whose manifest cannot be read matches every host and part, because its contents are not known.
    """
    host, part, since = options["host"], options["part"], options["since"]

    def matches(entry: Entry) -> bool:
        if since and entry.started < since:
            return False
        manifest = entry.manifest
        if manifest is None:
            return True
        named = not part or any(item.name == part for item in manifest.parts)
        return named and host in ("", manifest.host)

    return [entry for entry in entries if matches(entry)]


def by_day(entries: Sequence[Entry]) -> list[tuple[str, list[Entry]]]:
    """Group the backups by the day (in UTC) on which they started; return each day with its backups.

    If all backups started on one day, the only group has the name ``""``.
    """
    days = [
        (f"{day:%Y-%m-%d}", list(group))
        for day, group in groupby(entries, lambda entry: entry.started.astimezone(UTC).date())
    ]
    return days if len(days) > 1 else [("", list(entries))]
