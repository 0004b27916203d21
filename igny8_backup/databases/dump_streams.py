"""The archives of a dump while it is made: :class:`DumpStreams`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from igny8_backup.streams import Blocks

Placement = tuple[tuple[str, ...], ...]
"""For each data archive of a dump, the ``schema.table`` names of the tables whose rows it has."""


@dataclass(frozen=True)
class DumpStreams:
    """The streams of a dump: the main archive, then the data archives of ``placement``.

    At most ``at_once`` of them are to be read at the same time.
    """

    archives: Sequence[Blocks]
    placement: Placement = ()
    at_once: int = 1


def archive_names(count: int) -> list[str]:
    """Return what the keys of the ``count`` archives of a dump have before ``dump`` or ``runs``."""
    return ["main.", *(f"data-{number:02}." for number in range(1, count))] if count > 1 else [""]
