"""Choose the backups with the newest copy of each database and tree, for verifications and drills.

The newest backup alone is not enough: it may hold one database only, or the files of one host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from igny8_backup.catalog.backups import Entry
from igny8_backup.catalog.checked import part_keys
from igny8_backup.common.clock_skew import is_ahead
from igny8_backup.conf import Config
from igny8_backup.formats.documents.annotations import CheckedPart
from igny8_backup.formats.documents.run_record import RunRecord
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.expected_hosts import read_hosts_retired, sort_hosts
from igny8_backup.retention.policy import Part


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A backup, and the databases and trees in it that a verification or drill checks."""

    manifest: Manifest
    parts: tuple[CheckedPart, ...]


def expected_manifests(
    context: BackupContext, entries: Iterable[Entry], runs: Iterable[RunRecord], now: datetime
) -> tuple[list[Manifest], tuple[str, ...]]:
    """Return the readable manifests of the expected hosts, newest first, and the names of these hosts.

    Manifests of safety copies (backups made before a restore in place) and manifests dated in the future are
    left out. If no manifest of an expected host remains, the manifests of all hosts are returned. Raises
    ``StorageError``.
    """
    past = [entry.manifest for entry in entries if entry.manifest and not is_ahead(entry.started, now)]
    manifests = [item for item in past if not item.safety]
    retired = read_hosts_retired(context)
    expected = sort_hosts(context.config, manifests, runs, now, retired).expected
    return [item for item in manifests if item.host in expected] or manifests, expected


def newest_copies(
    manifests: Iterable[Manifest],
    config: Config,
    usable: Callable[[Manifest], Iterable[CheckedPart]] = part_keys,
    *,
    first: Manifest | None = None,
) -> list[Choice]:
    """Choose the backups with the newest copy of each database and tree that is still backed up.

    ``manifests`` are sorted newest first. ``usable`` returns the databases and trees of a manifest that are
    fit to be chosen: by default, all complete ones. If the backup ``first`` is given, all databases and trees
    that are usable in it are chosen from it.
    """
    covered: set[Part] = set()
    found: list[Choice] = []
    for manifest in ([first] if first else []) + list(manifests):
        parts = []
        for item in usable(manifest):
            part = Part(host=manifest.host, kind=item.kind, name=item.name)
            if part not in covered and (manifest is first or config.max_age_of(part) is not None):
                covered.add(part)
                parts.append(item)
        if parts:
            found.append(Choice(manifest=manifest, parts=tuple(parts)))
    return found
