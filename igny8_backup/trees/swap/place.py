"""Find out from inodes whether a child of the root has been swapped already."""

from __future__ import annotations

from typing import Literal

from igny8_backup.trees.swap.plan import Child


def place_of(
    child: Child, live: dict[bytes, int], staged: dict[bytes, int]
) -> Literal["old", "new", "unclear"] | None:
    """Return which child is in the live folder now: "old" (the previous one) or "new" (the restored one).

    ``live`` and ``staged`` hold the names and inodes that are now in the live and in the staging folder. They
    are compared with the inodes in ``child``, which are from the plan. The result is "unclear" if the inodes
    do not tell, because the application has replaced or removed the live child. It is None if neither folder
    has an entry of this name.
    """
    here, there = live.get(child.name), staged.get(child.name)
    if here is None and there is None:
        return None
    if child.staging is not None and there == child.staging or child.live is not None and here == child.live:
        return "old"
    if child.live is not None and there == child.live or child.staging is not None and here == child.staging:
        return "new"
    if child.staging is None and (here is None or there is None):  # only in the old tree, and replaced since
        return "new" if here is None else "old"
    if child.live is None and (here is None or there is None):  # only in the new tree, and replaced since
        return "new" if there is None else "old"
    return "unclear"
