"""Estimate the space that a restore or extraction needs on each volume, and compare it with what is free."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from igny8_backup.common.humanize import size_in_words
from igny8_backup.conf import Config
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.restore.planning.plan import DATABASES, FILES, DatabasePlan, Space, TreePlan
from igny8_backup.operations.restore.planning.preflight import nearest_existing
from igny8_backup.trees.fs.reserve import refused_reservations

IF_WRONG = "Free some, or give --ignore-space if this estimate is wrong."
"""The hint if, by the estimate, the space does not suffice."""
_REASONS = {
    True: "A quota of the user, the group, the project or the subvolume is exceeded. Have it raised.",
    False: "Less space can be used than the file system reports as free, for example because of a project"
    " quota or reserved blocks.",
}


def estimate_space(
    databases: Sequence[DatabasePlan], trees: Sequence[TreePlan], *, assumed: int | None
) -> tuple[Space, ...]:
    """Estimate the space that a restore needs: for each tree and on each database server.

    ``assumed`` is the free space on the volume of a database server, in bytes; None if it is unknown.
    """
    return (*_tree_space(trees), *_server_space(databases, assumed))


def copy_space(alias: str, *, place: str, needed: int, assumed: int | None) -> list[Space]:
    """Estimate the space that a new copy of the database ``alias`` needs on the server ``place``.

    ``needed`` is the size of the copy in bytes; 0 if it is not known. ``assumed`` is the free space on the
    volume of the server in bytes; None if it is unknown.
    """
    return [_on_server((alias,), place, needed, assumed)] if needed else []


def space_blockers(spaces: Iterable[Space]) -> list[str]:
    """Return a sentence for each volume that is known to be too small."""
    found = [
        f"There is not enough space on {space.place} for {', '.join(space.names)}:"
        f" {size_in_words(space.needed)} needed, {size_in_words(space.free or 0)} free"
        f"{' (assumed)' if space.assumed else ''}."
        for space in spaces
        if not space.enough
    ]
    found += [
        f"There are not enough inodes on {space.place} for {', '.join(space.names)}: {space.inodes} files and"
        f" folders, and {space.free_inodes} inodes are free."
        for space in spaces
        if not space.enough_inodes
    ]
    return found


def refused_space(wanted: Sequence[tuple[str, Path, int]], spaces: Iterable[Space]) -> list[str]:
    """Return a sentence for each tree whose space the file system refuses to reserve.

    ``wanted`` has, for each tree, its name, the folder that will hold its restored files, and their size in
    bytes. A file system refuses, for example, if a quota is exceeded. Nothing is reserved on volumes that are
    too small according to ``spaces``.
    """
    full = {space.place for space in spaces if not space.enough}
    tried = [
        (name, here, size)
        for name, folder, size in wanted
        if str(here := nearest_existing(folder)) not in full
    ]
    refused = refused_reservations([(here, size) for _, here, size in tried])
    return [
        f"{size_in_words(size)} for {name} cannot be reserved in {here}: {error.strerror}"
        f" ({errno.errorcode.get(error.errno or 0, error.errno)}). {_REASONS[error.errno == errno.EDQUOT]}"
        for (name, here, size), error in zip(tried, refused, strict=True)
        if error is not None
    ]


def room_for(config: Config, item: TreePlan) -> tuple[str, Path, int]:
    """Return the name of a tree, the folder that will hold its staging folder, and its size in bytes.

    Such tuples are the argument ``wanted`` of :func:`refused_space`.
    """
    whole = item.part.name in config.swap_whole
    return item.part.name, item.root.parent if whole else item.root, tree_bytes(item.part)


def tree_bytes(part: TreePart) -> int:
    """Return about how many bytes a restored tree occupies, without the holes of sparse files."""
    return part.bytes if part.allocated is None else part.allocated


def folder_space(names: Sequence[str], folder: Path, *, needed: int, inodes: int) -> Space:
    """Return the space that new files in ``folder`` need on its volume, and the space that is free there.

    ``folder`` need not exist yet. ``names`` are the trees that the files belong to. ``needed`` is the size of
    the new files in bytes, ``inodes`` the number of new files and folders.
    """
    here = nearest_existing(folder)
    found = os.statvfs(here)
    return Space(
        kind=FILES,
        names=tuple(names),
        place=str(here),
        needed=needed,
        free=found.f_bavail * found.f_frsize,
        inodes=inodes,
        free_inodes=found.f_favail if found.f_files else None,
    )


def _tree_space(trees: Sequence[TreePlan]) -> list[Space]:
    volumes: dict[int, list[TreePlan]] = {}
    for item in trees:
        volumes.setdefault(os.stat(nearest_existing(item.root)).st_dev, []).append(item)
    return [
        folder_space(
            [item.part.name for item in items],
            items[0].root,
            needed=sum(tree_bytes(item.part) for item in items),
            inodes=sum(item.part.files + item.part.directories + item.part.links for item in items),
        )
        for items in volumes.values()
    ]


def _server_space(databases: Sequence[DatabasePlan], assumed: int | None) -> list[Space]:
    servers: dict[str, list[DatabasePlan]] = {}
    for item in databases:
        if item.target_state.server:
            key = item.target_state.system_identifier or item.target_state.server
            servers.setdefault(key, []).append(item)
    return [
        _on_server(
            tuple(item.part.alias for item in items),
            items[0].target_state.server,
            sum(item.details.size for item in items),
            assumed,
        )
        for items in servers.values()
    ]


def _on_server(names: tuple[str, ...], place: str, needed: int, assumed: int | None) -> Space:
    return Space(
        kind=DATABASES,
        names=names,
        place=place,
        needed=needed,
        free=assumed,
        assumed=assumed is not None,
    )


def _free_bytes(folder: Path) -> int:
    found = os.statvfs(nearest_existing(folder))
    return found.f_bavail * found.f_frsize
