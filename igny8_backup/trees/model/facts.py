"""Facts about a tree as a whole that a scan collects on the way, such as the longest name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Facts:
    """What a walk has learned about a tree so far, apart from its entries.

    ``excluded`` is the number of excluded files and folders, without the contents of excluded folders.
    ``allocated`` is the number of bytes that the files occupy on the disk, without holes. ``longest_name`` is
    the number of bytes of the longest name. ``case_clash``: a folder has names that differ only in the case
    of ASCII letters.
    """

    excluded: int = 0
    allocated: int = 0
    longest_name: int = 0
    case_clash: bool = False
