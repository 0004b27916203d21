"""Restore what is left of a dump that is stored in chunks, if some of its packs are damaged.

:func:`find_lost` finds the tables whose rows are in the damaged packs, and :func:`without_lost` yields the
rest of the dump, which an engine loads with ``RestoreSelection.lost``.
"""

from __future__ import annotations

from igny8_backup.databases.postgresql.restore.archive.gaps import LostContentsError, find_lost, without_lost

__all__ = ["LostContentsError", "find_lost", "without_lost"]
