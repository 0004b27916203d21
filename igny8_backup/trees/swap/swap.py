"""Exchange the children of a live folder with those of a staging folder inside it.

The root of a tree itself is not moved, because a mount point cannot be renamed, and a bind mount of a
container would go on serving the old folder. An exchange child by child is not atomic, so the plan is stored
in a journal first. The inode of each child shows whether that child has been exchanged. So a swap that was
killed can be run again: in the same direction to finish it, or in the other direction to undo it. The
application can go on writing into the root during a swap.

A setting makes the swap exchange the root itself, if the root is no mount point. Then "the live folder" is
the folder that holds the root, and the root is the only child that is exchanged.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Literal

from igny8_backup.common.filesystem import sync
from igny8_backup.errors import FilesError, UnfinishedError
from igny8_backup.trees.fs.linux import exchange_names, move
from igny8_backup.trees.fs.metadata import Metadata
from igny8_backup.trees.model.names import escape, previous_name
from igny8_backup.trees.model.skips import OnSkip
from igny8_backup.trees.swap.blockers import Blocker, explain, try_children
from igny8_backup.trees.swap.place import place_of
from igny8_backup.trees.swap.plan import SwapPlan, opened

State = Literal["old", "new", "mixed"]
OnStep = Callable[[str], None]
"""Called before each change to the disk, with a description of that change."""

_MOVING = re.compile(rb"\.igny8_backup-moving-(\d+)")
"""Names of half swapped children as earlier releases wrote them (see ``SwapPlan.moving_name``)."""
_INTERRUPTED = "Every file and folder in the root is complete: either the old or the new one."


def state(plan: SwapPlan) -> State:
    """Return which tree is live: "old" (the previous one), "new" (the restored one), or "mixed".

    "mixed": the swap was interrupted, and the root holds files of both trees. If both trees are empty, the
    result is the tree to which the plan leads. Raises ``FilesError`` if the live or the staging folder is
    gone.
    """
    with opened(plan.folder, plan.find_staging()) as (live_fd, staging_fd):
        return _state(plan, live_fd, staging_fd)


def exchange(
    plan: SwapPlan,
    *,
    on_step: OnStep | None = None,
    on_skip: OnSkip | None = None,
    renames_only: bool = False,
) -> None:
    """Carry out the plan of a swap, or the rest of it if an earlier run was killed.

    Afterwards the staging folder holds the files and folders that were live. An undo also moves files that
    the application has added to the live folder into the staging folder. ``on_step`` is called before each
    change to the disk, ``on_skip`` for each attribute of the live folder itself that could not be set.
    ``renames_only`` avoids ``RENAME_EXCHANGE`` (renameat2(2)), which some filesystems lack.

    Raises ``FilesError`` if the swap fails before anything has moved. If the reason is that the live folder
    has changed since the swap was planned, the caller must plan again. Raises ``UnfinishedError`` if the swap
    fails later. The caller can then call ``exchange`` again: with the same plan to complete the swap, or with
    the reversed plan to undo it.
    """
    with opened(plan.folder, plan.find_staging()) as (live_fd, staging_fd):
        try:
            _exchange(plan, live_fd, staging_fd, on_step or _ignore, renames_only)
            _describe_root(plan, live_fd, on_step or _ignore, on_skip or _ignore)
            sync(staging_fd)
            sync(live_fd)
        except OSError as error:
            raise _failed(plan, live_fd, staging_fd, error) from error


def undo(plan: SwapPlan, *, on_step: OnStep | None = None, on_skip: OnSkip | None = None) -> None:
    """Make the previous tree live again, however far the swap has come. Raises the errors of ``exchange``."""
    exchange(plan if plan.undoing else plan.reversed(), on_step=on_step, on_skip=on_skip)


def swap_back_blockers(plan: SwapPlan) -> list[Blocker]:
    """Return a blocker for each file and folder that ``undo`` would move and that cannot be moved.

    Raises ``FilesError`` if the live or the staging folder is gone.
    """
    staging = plan.find_staging()
    with opened(plan.folder, staging) as (live_fd, staging_fd):
        live, staged = plan.children_in(live_fd), plan.children_in(staging_fd)
        places = {child.name: place_of(child, live, staged) for child in plan.children}
        moved = {name for name, place in places.items() if place == "new"}
        if "old" not in places.values():
            moved |= live.keys() - places.keys()
        found = try_children(plan.folder, live_fd, moved & live.keys())
        return found + try_children(staging, staging_fd, moved & staged.keys())


def _exchange(plan: SwapPlan, live_fd: int, staging_fd: int, on_step: OnStep, renames_only: bool) -> None:
    goal: State = "old" if plan.undoing else "new"
    kept = plan.find_staging().name == previous_name(plan.stamp)
    _complete_moves(plan, staging_fd, live_fd, on_step)
    live, staged = plan.children_in(live_fd), plan.children_in(staging_fd)
    places = [place_of(child, live, staged) for child in plan.children]
    if goal == "new" and "new" not in places:
        _check_as_planned(plan, live, staged)
    if goal == "old" and "old" not in places and ("new" in places or kept):
        # Before any other change: once a child is back, additions to the live folder belong to the old tree.
        for name in live.keys() - {child.name for child in plan.children}:
            on_step(f"{escape(name)} goes to the staging folder")
            move(live_fd, name, staging_fd, name)
    for number, (child, place) in enumerate(zip(plan.children, places, strict=True)):
        if place == "unclear":
            raise UnfinishedError(
                f"{escape(child.name)!r} in {plan.folder} is neither from the old nor from the new tree.",
                unchanged=_INTERRUPTED,
                hint=f"Move it out of {plan.folder} and run the same command again.",
            )
        if place not in (goal, None):
            name = child.name
            on_step(f"{escape(name)} is swapped")
            if name not in live:
                move(staging_fd, name, live_fd, name)
            elif name not in staged:
                move(live_fd, name, staging_fd, name)
            elif renames_only or not exchange_names(live_fd, staging_fd, name):
                moving = plan.moving_name(number)
                move(live_fd, name, staging_fd, moving)
                on_step(f"{escape(name)} is half swapped")
                move(staging_fd, name, live_fd, name)
                on_step(f"{escape(name)} is nearly swapped")
                move(staging_fd, moving, staging_fd, name)


def _complete_moves(plan: SwapPlan, staging_fd: int, live_fd: int, on_step: OnStep) -> None:
    """Finish or reverse the swap of a child, if a killed run left it between its three renames."""
    for moving, name in _half_swapped(plan, staging_fd).items():
        on_step(f"{escape(name)} is no longer half swapped")
        try:
            os.lstat(name, dir_fd=staging_fd)
        except FileNotFoundError:  # two renames had happened
            move(staging_fd, moving, staging_fd, name)
        else:
            move(staging_fd, moving, live_fd, name)


def _half_swapped(plan: SwapPlan, staging_fd: int) -> dict[bytes, bytes]:
    """Return the children whose swap was interrupted between its three renames.

    The result maps the temporary name of each child in the staging folder to its real name.
    """
    planned = {child.name for child in plan.children}
    prefix = plan.moving_name("")
    found = {}
    for moving in map(os.fsencode, os.listdir(staging_fd)):
        earlier = None if moving in planned else _MOVING.fullmatch(moving)
        if moving.startswith(prefix) or earlier:
            number = earlier[1] if earlier else moving.removeprefix(prefix)
            found[moving] = plan.children[int(number)].name
    return found


def _describe_root(plan: SwapPlan, live_fd: int, on_step: OnStep, on_skip: OnSkip) -> None:
    record = plan.old if plan.undoing else plan.new
    if record is None or plan.only is not None:
        return
    on_step("the root gets its own mode and time")
    metadata = Metadata(allow_set_id=False, on_skip=on_skip)
    try:
        metadata.apply(live_fd, record, exactly=True)
    except PermissionError as error:
        on_skip(b"", f"its mode and time cannot be set: {error.strerror}")
    if metadata.owners_left:
        on_skip(b"", "its owner was not set")


def _check_as_planned(plan: SwapPlan, live: dict[bytes, int], staged: dict[bytes, int]) -> None:
    found = {name: (live.get(name), staged.get(name)) for name in live.keys() | staged.keys()}
    if found != {child.name: (child.live, child.staging) for child in plan.children}:
        raise FilesError(
            f"The files and folders in {plan.folder} are not those for which the swap was planned.",
            unchanged="The live tree was not changed.",
            hint="Restore again; if it happens again, stop the programs that write there.",
        )


def _state(plan: SwapPlan, live_fd: int, staging_fd: int) -> State:
    live, staged = plan.children_in(live_fd), plan.children_in(staging_fd)
    places = {place_of(child, live, staged) for child in plan.children} - {None}
    if _half_swapped(plan, staging_fd):
        return "mixed"
    if not places:
        return "old" if plan.undoing else "new"
    if places == {"old"}:
        return "old"
    return "new" if places == {"new"} else "mixed"


def _failed(plan: SwapPlan, live_fd: int, staging_fd: int, error: OSError) -> FilesError | UnfinishedError:
    why, hint = error.strerror, "Check permissions and free space there"
    if isinstance(error.filename, bytes):
        blocker = explain(plan.folder, live_fd, error.filename, error)
        why, hint = blocker.why, blocker.advice
    what = f"The files and folders in {plan.folder} cannot be swapped: {why}."
    hint = f"{hint}. Then run the same command again"
    if _state(plan, live_fd, staging_fd) == ("new" if plan.undoing else "old"):
        return FilesError(
            what,
            unchanged="The live tree was not changed.",
            hint=f"{hint}.",
        )
    return UnfinishedError(
        what,
        unchanged=_INTERRUPTED,
        hint=f"{hint}, or undo_restore.",
    )


def _ignore(*_: object) -> None:
    """Do nothing: the default for callbacks."""
