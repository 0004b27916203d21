"""Exchange the children of a live folder with those of a staging folder inside it.

The root of a tree itself is not moved, because a mount point cannot be renamed, and a bind mount of a
container would go on serving the old folder. An exchange child by child is not atomic, so the plan is stored
in a journal first. The inode of each child shows whether it has been exchanged, so a swap that was killed is
finished, or undone, by running it again in either direction. The application may write into the root
meanwhile.

A setting allows a root that is no mount point to be swapped itself: the live folder is then the one that
holds the root, and the root is the only child that is exchanged.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from igny8_backup.errors import FilesError, UnfinishedError
from igny8_backup.filesystem import sync
from igny8_backup.trees.fs.linux import exchange_names, move
from igny8_backup.trees.fs.metadata import Metadata
from igny8_backup.trees.model.names import escape, previous_name
from igny8_backup.trees.model.skips import OnSkip
from igny8_backup.trees.swap.plan import Child, SwapPlan, opened

State = Literal["old", "new", "mixed"]
OnStep = Callable[[str], None]
"""Called before each change to the disk with a description of the change."""

_MOVING = b".igny8_backup-moving-"
"""Prefix of the name, in the staging folder, of a child that is half swapped; its number follows."""
_INTERRUPTED = "Every file and folder in the root is complete: either the old or the new one."


def state(plan: SwapPlan) -> State:
    """Return which tree is live: "old" (the previous one), "new" (the restored one), or "mixed".

    "mixed": the swap was interrupted, and the root holds files of both. If both trees are empty, the result
    is the tree that the plan leads to. Raises ``FilesError`` if the live or the staging folder is gone.
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

    Raises ``FilesError`` if the live folder has changed since the swap was planned and nothing has moved yet;
    the caller must then plan again. Raises ``UnfinishedError`` if the swap fails later; the caller can then
    call ``exchange`` again with the plan, to complete the swap, or with the reversed plan, to undo it.
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
    """Make the old tree live again, from any state of the swap. Raises the errors of ``exchange``."""
    exchange(plan if plan.undoing else plan.reversed(), on_step=on_step, on_skip=on_skip)


def keep(plan: SwapPlan) -> Path:
    """Rename the staging folder, which after the swap holds the previous tree; return its new path.

    This may be repeated. Without it a later run would remove the previous tree as a stale staging folder. The
    live folder keeps its modification time if this user may set it. Raises ``UnfinishedError`` if the folder
    cannot be renamed.
    """
    staging, previous = plan.find_staging(), plan.folder / previous_name(plan.stamp)
    if staging != previous:
        with opened(plan.folder, staging) as (live_fd, _):
            times = os.fstat(live_fd)
            try:
                move(live_fd, os.fsencode(staging.name), live_fd, os.fsencode(previous.name))
                with suppress(PermissionError):
                    os.utime(live_fd, ns=(times.st_atime_ns, times.st_mtime_ns))
                sync(live_fd)
            except OSError as error:
                raise UnfinishedError(
                    f"{staging} cannot be renamed to {previous}: {error.strerror}.",
                    unchanged=f"The restored tree is live; the previous tree is still in {staging}.",
                    hint="Check the permissions and that the new name is free, then run the command again.",
                ) from error
    return previous


def _exchange(plan: SwapPlan, live_fd: int, staging_fd: int, on_step: OnStep, renames_only: bool) -> None:
    goal: State = "old" if plan.undoing else "new"
    _complete_moves(plan, staging_fd, live_fd, on_step)
    live, staged = plan.children_in(live_fd), plan.children_in(staging_fd)
    places = [_place(child, live, staged) for child in plan.children]
    if goal == "new" and "new" not in places:
        _check_as_planned(plan, live, staged)
    if goal == "old" and "old" not in places:
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
                moving = _MOVING + b"%d" % number
                move(live_fd, name, staging_fd, moving)
                on_step(f"{escape(name)} is half swapped")
                move(staging_fd, name, live_fd, name)
                on_step(f"{escape(name)} is nearly swapped")
                move(staging_fd, moving, staging_fd, name)


def _complete_moves(plan: SwapPlan, staging_fd: int, live_fd: int, on_step: OnStep) -> None:
    """Finish or reverse the swap of a child if an earlier run was killed between its three renames."""
    for moving in [name for name in map(os.fsencode, os.listdir(staging_fd)) if name.startswith(_MOVING)]:
        name = plan.children[int(moving.removeprefix(_MOVING))].name
        on_step(f"{escape(name)} is no longer half swapped")
        try:
            os.lstat(name, dir_fd=staging_fd)
        except FileNotFoundError:  # two renames had happened
            move(staging_fd, moving, staging_fd, name)
        else:
            move(staging_fd, moving, live_fd, name)


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
    places = {_place(child, live, staged) for child in plan.children} - {None}
    if any(os.fsencode(name).startswith(_MOVING) for name in os.listdir(staging_fd)):
        return "mixed"
    if not places:
        return "old" if plan.undoing else "new"
    if places == {"old"}:
        return "old"
    return "new" if places == {"new"} else "mixed"


def _place(
    child: Child, live: dict[bytes, int], staged: dict[bytes, int]
) -> Literal["old", "new", "unclear"] | None:
    """Return whether the live folder now holds the previous ("old") or the restored ("new") child.

    The inodes in the plan are compared with those found now: ``live`` and ``staged`` map the names in the two
    folders to inodes. The result is "unclear" if the application has replaced or removed the live child, and
    None if neither folder holds the child.
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


def _failed(plan: SwapPlan, live_fd: int, staging_fd: int, error: OSError) -> FilesError | UnfinishedError:
    what = f"The files and folders in {plan.folder} cannot be swapped: {error.strerror}."
    if _state(plan, live_fd, staging_fd) == ("new" if plan.undoing else "old"):
        return FilesError(
            what,
            unchanged="The live tree was not changed.",
            hint="Check the permissions and the free space there, then run the same command again.",
        )
    return UnfinishedError(
        what,
        unchanged=_INTERRUPTED,
        hint="Check permissions and free space there. Then run the same command again, or undo_restore.",
    )


def _ignore(*_: object) -> None:
    """Do nothing: the default for callbacks."""
