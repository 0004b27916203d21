"""A whole tree for a live one: the children of a root exchanged with those of a folder inside it.

The root itself stays: a container's bind mount goes on serving the folder it was given, and a mount
point cannot be renamed. Child by child is not one instant, so the plan goes into a journal first;
where each child is can be told by its inode, and a swap that was killed is finished, or undone, by
running it again in either direction. An application that goes on writing into the root meanwhile is
borne.

A root that nothing is mounted on may by setting be swapped whole: then the folder that it lies in is
the root of the plan, and the tree its only child.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from igny8_backup.errors import FilesError, UnfinishedError
from igny8_backup.trees.fs.linux import exchange_names, move
from igny8_backup.trees.fs.metadata import Metadata
from igny8_backup.trees.model.names import escape, previous_name
from igny8_backup.trees.model.skips import OnSkip
from igny8_backup.trees.swap.plan import Child, SwapPlan, opened

State = Literal["old", "new", "mixed"]
OnStep = Callable[[str], None]
"""Told before each single change to the disk."""

_MOVING = b".igny8_backup-moving-"  # and the child's number: it is on its way between root and side


def state(plan: SwapPlan) -> State:
    """Which tree the root holds: the old one, the new one, or some of each.

    Where there is nothing to swap, the one that the plan leads to. ``FilesError`` when the root or
    the side is gone.
    """
    with opened(plan.root, plan.find_staging()) as (root, side):
        return _state(plan, root, side)


def exchange(
    plan: SwapPlan,
    *,
    on_step: OnStep | None = None,
    on_skip: OnSkip | None = None,
    renames_only: bool = False,
) -> None:
    """Carry the plan out, from wherever it stands; afterwards the side holds the children swapped out.

    Before anything has moved, the root must be as it was planned: else ``FilesError``, and plan
    again. When something fails later, ``UnfinishedError``: run it again, or with the plan reversed.
    What the application has put into the root since goes to the side when the swap is undone.
    ``on_skip`` is told what of the root's own metadata could not be set. ``renames_only`` does
    without ``RENAME_EXCHANGE``, as on filesystems that lack it.
    """
    with opened(plan.root, plan.find_staging()) as (root, side):
        try:
            _exchange(plan, root, side, on_step or _ignore, renames_only)
            _describe_root(plan, root, on_step or _ignore, on_skip or _ignore)
            os.fsync(side)
            os.fsync(root)
        except OSError as error:
            raise _failed(plan, root, side, error) from error


def undo(plan: SwapPlan, *, on_step: OnStep | None = None, on_skip: OnSkip | None = None) -> None:
    """Bring the old tree back, from wherever the plan stands; as ``exchange`` with the plan reversed."""
    exchange(plan if plan.undoing else plan.reversed(), on_step=on_step, on_skip=on_skip)


def keep(plan: SwapPlan) -> Path:
    """Give the side the name under which the old tree is kept, and return its path; again does no harm.

    The root keeps its time, where we may set it. ``UnfinishedError`` when the side cannot be renamed: it
    holds what was swapped out, and must not be taken for one that nobody needs.
    """
    now, kept = plan.find_staging(), plan.root / previous_name(plan.stamp)
    if now != kept:
        with opened(plan.root, now) as (root, _):
            times = os.fstat(root)
            try:
                move(root, os.fsencode(now.name), root, os.fsencode(kept.name))
                with suppress(PermissionError):
                    os.utime(root, ns=(times.st_atime_ns, times.st_mtime_ns))
                os.fsync(root)
            except OSError as error:
                raise UnfinishedError(
                    f"{now} cannot be renamed to {kept}: {error.strerror}.",
                    unchanged="The tree is swapped, and what was swapped out is there.",
                    hint="Mend that and run this again.",
                ) from error
    return kept


def _exchange(plan: SwapPlan, root: int, side: int, on_step: OnStep, renames_only: bool) -> None:
    goal: State = "old" if plan.undoing else "new"
    _complete_moves(plan, side, root, on_step)
    live, aside = plan.children_in(root), plan.children_in(side)
    places = [_place(child, live, aside) for child in plan.children]
    if goal == "new" and "new" not in places:
        _check_as_planned(plan, live, aside)
    if goal == "old" and "old" not in places:
        # First of all: once a child is back, what the root holds beyond the plan belongs to the old tree.
        for name in live.keys() - {child.name for child in plan.children}:
            on_step(f"{escape(name)} goes to the side")
            move(root, name, side, name)
    for number, (child, place) in enumerate(zip(plan.children, places, strict=True)):
        if place == "unclear":
            raise UnfinishedError(
                f"{escape(child.name)!r} in {plan.root} is neither of the two that are being swapped.",
                hint=f"Move it out of {plan.root} and run this again.",
            )
        if place not in (goal, None):
            name = child.name
            on_step(f"{escape(name)} is swapped")
            if name not in live:
                move(side, name, root, name)
            elif name not in aside:
                move(root, name, side, name)
            elif renames_only or not exchange_names(root, side, name):
                moving = _MOVING + b"%d" % number
                move(root, name, side, moving)
                on_step(f"{escape(name)} is half swapped")
                move(side, name, root, name)
                on_step(f"{escape(name)} is nearly swapped")
                move(side, moving, side, name)


def _complete_moves(plan: SwapPlan, side: int, root: int, on_step: OnStep) -> None:
    """Finish, or take back, the three renames of a child amid which an earlier run was killed."""
    for moving in [name for name in map(os.fsencode, os.listdir(side)) if name.startswith(_MOVING)]:
        name = plan.children[int(moving.removeprefix(_MOVING))].name
        on_step(f"{escape(name)} is no longer half swapped")
        try:
            os.lstat(name, dir_fd=side)
        except FileNotFoundError:  # two renames had happened
            move(side, moving, side, name)
        else:
            move(side, moving, root, name)


def _describe_root(plan: SwapPlan, root: int, on_step: OnStep, on_skip: OnSkip) -> None:
    record = plan.old if plan.undoing else plan.new
    if record is None or plan.only is not None:
        return
    on_step("the root gets its own mode and time")
    metadata = Metadata(allow_set_id=False, on_skip=on_skip)
    try:
        metadata.apply(root, record, exactly=True)
    except PermissionError as error:
        on_skip(b"", f"its mode and time cannot be set: {error.strerror}")
    if metadata.owners_left:
        on_skip(b"", "its owner was not set")


def _check_as_planned(
    plan: SwapPlan, live: dict[bytes, os.stat_result], aside: dict[bytes, os.stat_result]
) -> None:
    found = {name: (_inode(live, name), _inode(aside, name)) for name in live.keys() | aside.keys()}
    if found != {child.name: (child.live, child.side) for child in plan.children}:
        raise FilesError(
            f"The children of {plan.root} are not those for which the swap was planned.",
            unchanged="The tree is as it was.",
            hint="Restore again; if it persists, stop what writes there.",
        )


def _state(plan: SwapPlan, root: int, side: int) -> State:
    live, aside = plan.children_in(root), plan.children_in(side)
    places = {_place(child, live, aside) for child in plan.children} - {None}
    if any(os.fsencode(name).startswith(_MOVING) for name in os.listdir(side)):
        return "mixed"
    if not places:
        return "old" if plan.undoing else "new"
    if places == {"old"}:
        return "old"
    return "new" if places == {"new"} else "mixed"


def _place(
    child: Child, live: dict[bytes, os.stat_result], aside: dict[bytes, os.stat_result]
) -> Literal["old", "new", "unclear"] | None:
    """Whether a child has been swapped; None when neither root nor side has it any more.

    The side is private, so what lies there is as we left it. In the root the application may have
    put something else in a child's place, or taken it away, at any time.
    """
    here, there = _inode(live, child.name), _inode(aside, child.name)
    if here is None and there is None:
        return None
    if child.side is not None and there == child.side or child.live is not None and here == child.live:
        return "old"
    if child.live is not None and there == child.live or child.side is not None and here == child.side:
        return "new"
    if child.side is None and (here is None or there is None):  # only in the old tree, and replaced since
        return "new" if here is None else "old"
    if child.live is None and (here is None or there is None):  # only in the new tree, and replaced since
        return "new" if there is None else "old"
    return "unclear"


def _inode(children: dict[bytes, os.stat_result], name: bytes) -> int | None:
    status = children.get(name)
    return None if status is None else status.st_ino


def _failed(plan: SwapPlan, root: int, side: int, error: OSError) -> FilesError | UnfinishedError:
    what = f"The children of {plan.root} cannot be swapped: {error.strerror}."
    if _state(plan, root, side) == ("new" if plan.undoing else "old"):
        return FilesError(what, unchanged="The tree is as it was.", hint="Mend that and run this again.")
    return UnfinishedError(what, hint="Mend that and run this again, or undo_restore.")


def _ignore(*_: object) -> None:
    """For those who are told of nothing."""
