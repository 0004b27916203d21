"""Collect facts for the plan of a restore: about backups, and about live files that backups exclude."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from django.conf import settings

from igny8_backup.common.humanize import count_in_words, size_in_words
from igny8_backup.conf import Config
from igny8_backup.formats.details import Details, TreeDetails
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.installation.secret_key import fingerprint
from igny8_backup.operations.restore.planning.plan import (
    Source,
    TreePlan,
)
from igny8_backup.trees.scan import excludes
from igny8_backup.trees.scan.excluded_files import Rules, count_excluded


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
    """Return how many seconds after the newest database snapshot the tree was read.

    The number is negative if the tree was read before the snapshot. Returns None if no database is restored
    with the tree.
    """
    snapshot = max((part.as_of for part in databases), default=None)
    return None if snapshot is None else round((tree.started - snapshot).total_seconds())


def excluded_live_files(
    config: Config, part: TreePart, details: TreeDetails | None, root: Path, own: Collection[bytes]
) -> tuple[int, int]:
    """Return the number and the bytes of the live files of a tree that backups exclude.

    These are files that the backup to restore excluded, and files that the settings exclude from the next
    backup. Folders of ``root`` with names in ``own`` are not counted: restores keep replaced files there.
    """
    rules = {Rules(config.patterns_of(part.name), part.name in config.exclude_caches)}
    if details is not None:
        rules.add(Rules(details.exclude, details.exclude_caches))
    elif part.excluded:  # made by a release that excluded caches by default and recorded no rules
        rules.add(Rules(excludes.CACHES, True))
    return count_excluded(root, rules, own)


def excluded_notes(item: TreePlan) -> list[str]:
    """Return a note if the restore of a tree moves aside live files that backups exclude."""
    if not item.excluded_files:
        return []
    return [
        f"{count_in_words(item.excluded_files, 'live file')} of {item.part.name!r}"
        f" ({size_in_words(item.excluded_bytes)}) {'is' if item.excluded_files == 1 else 'are'} excluded from"
        " backups. The restore sets them aside with the previous files; undo_restore --discard deletes them"
        " for good. Copy back what the application cannot create again."
    ]


def source_notes(environment: str, source: Source) -> list[str]:
    """Return notes for a backup that was made with another ``SECRET_KEY`` or in another environment.

    ``environment`` is that of this machine.
    """
    notes = []
    if not source.secret_key_equal:
        notes.append(
            "SECRET_KEY differs from that of the backup: encrypted fields and sessions cannot be read."
        )
    if source.environment != environment:
        notes.append(
            f"The backup was made in the environment {source.environment!r}, and this one is {environment!r}."
        )
    return notes
