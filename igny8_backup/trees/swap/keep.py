"""Rename the staging folder after a swap, so that no later run removes the previous tree in it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from igny8_backup.common.filesystem import sync
from igny8_backup.errors import UnfinishedError
from igny8_backup.trees.fs.linux import move
from igny8_backup.trees.model.names import previous_name, staging_name
from igny8_backup.trees.swap.plan import SwapPlan, opened


def keep(plan: SwapPlan) -> Path:
    """Rename the staging folder, which after the swap holds the previous tree; return its new path.

    If the folder kept its name, a later run would remove the previous tree as a stale staging folder. Calling
    this again does no harm. The live folder keeps its modification time, if this user has the right to set
    it. Raises ``UnfinishedError`` if the staging folder cannot be renamed.
    """
    return _rename(plan, previous_name(plan.stamp))


def unkeep(plan: SwapPlan) -> Path:
    """Undo the rename of :func:`keep`, so that the kept tree can be swapped again; return its new path.

    Calling this again does no harm. Raises ``UnfinishedError`` if the folder cannot be renamed.
    """
    return _rename(plan, staging_name(plan.stamp))


def _rename(plan: SwapPlan, name: str) -> Path:
    """Rename the staging folder of a swap, and restore the modification time of the live folder."""
    staging, renamed = plan.find_staging(), plan.folder / name
    if staging != renamed:
        with opened(plan.folder, staging) as (live_fd, _):
            times = os.fstat(live_fd)
            try:
                move(live_fd, os.fsencode(staging.name), live_fd, os.fsencode(name))
                with suppress(PermissionError):
                    os.utime(live_fd, ns=(times.st_atime_ns, times.st_mtime_ns))
                sync(live_fd)
            except OSError as error:
                raise UnfinishedError(
                    f"{staging} cannot be renamed to {renamed}: {error.strerror}.",
                    unchanged=f"The live tree is complete; the tree that is not live is still in {staging}.",
                    hint="Check the permissions and that the new name is free, then run the command again.",
                ) from error
    return renamed
