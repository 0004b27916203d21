"""What a plan says of the backup and of the machine, to be read before anything is replaced."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

from igny8_backup.conf import Config
from igny8_backup.databases.values import SCRATCH_MARGIN
from igny8_backup.formats.details import Details
from igny8_backup.formats.manifest import DatabasePart, Manifest, TreePart
from igny8_backup.humanize import size_in_words
from igny8_backup.operations.secret_key import fingerprint

if TYPE_CHECKING:
    from igny8_backup.operations.restore.plan import DatabasePlan, TreePlan

SCRATCH, FILES, DATABASES = "scratch", "files", "databases"
"""Kinds of :class:`Space`."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A backup that a restore takes something from. ``secret_key_equal``: whether the ``SECRET_KEY`` here is
    the one that it was made with."""

    id: str
    host: str
    environment: str
    label: str
    started: datetime
    software: dict[str, str]
    secret_key_equal: bool


@dataclass(frozen=True, kw_only=True)
class Space:
    """Room on one volume, in bytes: ``needed`` beside what is live, and what is ``free``.

    ``place`` is a folder, or a database server, whose volume nobody can see over SQL: ``free`` is then what
    was ``assumed``, or ``None``. ``required`` is false where the restore can do without.
    """

    kind: str
    names: tuple[str, ...]
    place: str
    needed: int
    free: int | None
    assumed: bool = False
    required: bool = True

    @property
    def enough(self) -> bool:
        """Whether there is room, as far as anybody knows."""
        return self.free is None or self.free >= self.needed


def source(manifest: Manifest, details: Details) -> Source:
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
    """How long after the newest database snapshot the tree was read, in whole seconds; negative for before,
    ``None`` where no database is restored with it."""
    snapshot = max((part.started for part in databases), default=None)
    return None if snapshot is None else round((tree.started - snapshot).total_seconds())


def find_spaces(
    config: Config,
    databases: Sequence[DatabasePlan],
    trees: Sequence[TreePlan],
    *,
    assumed: int | None,
) -> tuple[Space, ...]:
    """The room that a restore takes beside what is live: in scratch, on the volume of each tree, on each
    database server. ``assumed`` is what its volume has free, in bytes, as somebody says who can see it."""
    return (*_scratch(config, databases), *_volumes(trees), *_servers(databases, assumed))


def space_blockers(spaces: Iterable[Space]) -> list[str]:
    """A sentence for each volume that is known to be too small."""
    return [
        f"There is not enough space on {space.place} for {', '.join(space.names)}:"
        f" {size_in_words(space.needed)} needed, {size_in_words(space.free or 0)} free"
        f"{' (assumed)' if space.assumed else ''}."
        for space in spaces
        if space.required and not space.enough
    ]


def _scratch(config: Config, databases: Sequence[DatabasePlan]) -> list[Space]:
    """The dump lies in scratch where several jobs read it; without the room one job reads the stream."""
    dumps = {
        item.part.alias: item.part.object.raw_bytes
        for item in databases
        if item.part.object and item.target_state.server
    }
    if not dumps or config.jobs < 2:
        return []
    largest = max(dumps, key=lambda alias: dumps[alias])
    folder = config.scratch_dir
    return [
        Space(
            kind=SCRATCH,
            names=(largest,),
            place=str(folder),
            needed=dumps[largest] + SCRATCH_MARGIN,
            free=_free(folder),
            required=False,
        )
    ]


def _volumes(trees: Sequence[TreePlan]) -> list[Space]:
    """The trees of one volume share its room."""
    volumes: dict[int, list[TreePlan]] = {}
    for item in trees:
        volumes.setdefault(os.stat(_existing(item.root)).st_dev, []).append(item)
    return [
        Space(
            kind=FILES,
            names=tuple(item.part.name for item in items),
            place=str(_existing(items[0].root)),
            needed=sum(item.part.bytes for item in items),
            free=_free(items[0].root),
        )
        for items in volumes.values()
    ]


def _servers(databases: Sequence[DatabasePlan], assumed: int | None) -> list[Space]:
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


def _existing(folder: Path) -> Path:
    """``folder``, or the nearest folder above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _free(folder: Path) -> int:
    found = os.statvfs(_existing(folder))
    return found.f_bavail * found.f_frsize
