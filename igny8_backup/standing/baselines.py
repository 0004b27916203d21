"""Compare a copy of a database or tree with its baseline, an earlier copy, and record baselines in manifests.

A manifest records the baseline of each copy, so that the verdict on the copy stays the same after retention
has removed the backup with the baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from igny8_backup.formats.comparison import Baseline
from igny8_backup.formats.manifest import COMPLETE, DatabasePart, Manifest, TreePart
from igny8_backup.retention.policy import Part
from igny8_backup.standing.result import MIGRATIONS, SERVER, SIZE, SUSPECT, Reason, part_of
from igny8_backup.standing.sizes import BYTES, FILES, ROWS, drop_in, sizes_of
from igny8_backup.standing.sources import after, migrations_back, other_server

P = TypeVar("P", DatabasePart, TreePart)


def baseline_of(backup_id: str, item: DatabasePart | TreePart, before: Baseline) -> Baseline:
    """Return the baseline that the copy ``item`` in the backup ``backup_id`` is for later copies.

    ``before`` is the baseline of ``item`` itself. What ``item`` does not record, such as the database server,
    is taken from it.
    """
    known = after(item, backup_id, before) if isinstance(item, DatabasePart) else Baseline()
    sizes = sizes_of(item)
    return replace(
        known, backup_id=backup_id, bytes=sizes[BYTES], files=sizes.get(FILES), rows=sizes.get(ROWS)
    )


def reasons_to_suspect(
    item: DatabasePart | TreePart, baseline: Baseline, share: float | None
) -> Iterator[Reason]:
    """Yield the reasons to suspect the copy ``item``, such as a size below ``share`` of the baseline's."""
    from_backup = f"backup {baseline.backup_id}" if baseline.backup_id else ""
    found = {SIZE: drop_in(item, baseline, share, from_backup)}
    if isinstance(item, DatabasePart):
        found |= {SERVER: other_server(item, baseline), MIGRATIONS: migrations_back(item, baseline)}
    for cause, text in found.items():
        if text:
            yield Reason(kind=SUSPECT, text=text, cause=cause)


def record_baselines(
    manifest: Manifest, baselines: Mapping[Part, Baseline], vouched: Callable[[str], bool]
) -> Manifest:
    """Return a copy of the new ``manifest`` in which each complete copy records its baseline.

    ``baselines`` are those of the earlier backups (see ``Standings.baselines``). A baseline is not recorded
    unless ``vouched`` returns true for the id of its backup. Safety copies are compared with nothing.
    """

    def recorded(item: P) -> P:
        found = baselines.get(part_of(manifest, item), Baseline())
        if item.state != COMPLETE or manifest.safety or not vouched(found.backup_id):
            return item
        return replace(item, baseline=found)

    return replace(
        manifest,
        databases=tuple(map(recorded, manifest.databases)),
        trees=tuple(map(recorded, manifest.trees)),
    )
