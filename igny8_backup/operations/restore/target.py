"""Collect facts for the plan of a restore: about the backups, and about the space on each volume."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from django.conf import settings

from igny8_backup.conf import Config
from igny8_backup.databases.values import SCRATCH_MARGIN
from igny8_backup.formats.details import Details
from igny8_backup.formats.manifest import DatabasePart, Manifest, TreePart
from igny8_backup.humanize import size_in_words
from igny8_backup.operations.restore.plan import (
    DATABASES,
    FILES,
    SCRATCH,
    DatabasePlan,
    Source,
    Space,
    TreePlan,
)
from igny8_backup.operations.secret_key import fingerprint


def describe_source(manifest: Manifest, details: Details) -> Source:
    """Return the facts about a backup that the plan shows."""
    return Source(
        id=manifest.id,
        host=manifest.host,
        environment=manifest.environment,
        label=manifest.label,
        started=manifest.started,
        software=manifest.software,
        secret_key_equal=details.secret_key_fingerprint == fingerprint(settings.SECRET_KEY, manifest.id),
    )


def seconds_after(tree: TreePart, databases: Iterable[DatabasePart]) -> int | None:
    """Return how many seconds after the newest database snapshot the tree was read; negative if before.

    Returns None if no database is restored with the tree.
    """
    snapshot = max((part.started for part in databases), default=None)
    return None if snapshot is None else round((tree.started - snapshot).total_seconds())


def estimate_space(
    config: Config, databases: Sequence[DatabasePlan], trees: Sequence[TreePlan], *, assumed: int | None
) -> tuple[Space, ...]:
    """Estimate the space that a restore needs in scratch, on the volume of each tree and on each server.

    ``assumed`` is the free space on the volume of a database server, in bytes; None if it is unknown.
    """
    return (*_scratch_space(config, databases), *_tree_space(trees), *_server_space(databases, assumed))


def space_blockers(spaces: Iterable[Space]) -> list[str]:
    """Return a sentence for each volume that is known to be too small."""
    return [
        f"There is not enough space on {space.place} for {', '.join(space.names)}:"
        f" {size_in_words(space.needed)} needed, {size_in_words(space.free or 0)} free"
        f"{' (assumed)' if space.assumed else ''}."
        for space in spaces
        if space.required and not space.enough
    ]


def _scratch_space(config: Config, databases: Sequence[DatabasePlan]) -> list[Space]:
    """Return the space in ``SCRATCH_DIR`` for the largest dump, which several ``pg_restore`` jobs need.

    Without the space, one job restores the dump as a stream.
    """
    dumps = {
        item.part.alias: item.part.object.raw_bytes
        for item in databases
        if item.part.object and item.target_state.server
    }
    if not dumps or config.jobs < 2:
        return []
    largest = max(dumps, key=lambda alias: dumps[alias])
    return [
        Space(
            kind=SCRATCH,
            names=(largest,),
            place=str(config.scratch_dir),
            needed=dumps[largest] + SCRATCH_MARGIN,
            free=_free_bytes(config.scratch_dir),
            required=False,
        )
    ]


def _tree_space(trees: Sequence[TreePlan]) -> list[Space]:
    volumes: dict[int, list[TreePlan]] = {}
    for item in trees:
        volumes.setdefault(os.stat(_nearest_existing(item.root)).st_dev, []).append(item)
    return [
        Space(
            kind=FILES,
            names=tuple(item.part.name for item in items),
            place=str(_nearest_existing(items[0].root)),
            needed=sum(item.part.bytes for item in items),
            free=_free_bytes(items[0].root),
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
        Space(
            kind=DATABASES,
            names=tuple(item.part.alias for item in items),
            place=items[0].target_state.server,
            needed=sum(item.details.size for item in items),
            free=assumed,
            assumed=assumed is not None,
        )
        for items in servers.values()
    ]


def _nearest_existing(folder: Path) -> Path:
    """Return ``folder``, or the nearest folder above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _free_bytes(folder: Path) -> int:
    found = os.statvfs(_nearest_existing(folder))
    return found.f_bavail * found.f_frsize
