"""Compare a copy of a database or tree with its baseline, an earlier copy, and record baselines in manifests.

A manifest records the baseline of each copy, so that the verdict on the copy stays the same after retention
has removed the backup with the baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from igny8_backup.formats.comparison import Baseline
from igny8_backup.formats.manifest import COMPLETE, Manifest
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.retention.policy import Part
from igny8_backup.standing.result import MIGRATIONS, SERVER, SIZE, SUSPECT, Reason, part_of
from igny8_backup.standing.sizes import BYTES, FILES, ROWS, drop_in, sizes_of
from igny8_backup.standing.sources import after, migrations_back, other_server

P = TypeVar("P", DatabasePart, TreePart)


def baseline_of(backup_id: str, item: DatabasePart | TreePart, before: Baseline) -> Baseline:
    """Return the baseline for copies that are later than ``item``: the facts that ``item`` records.

    ``item`` is a copy in the backup ``backup_id``. ``before`` is the baseline with which ``item`` was
    compared. If ``item`` does not record a fact, such as the database server, the result has the fact from
    ``before``.
    """
    known = after(item, backup_id, before) if isinstance(item, DatabasePart) else Baseline()
    sizes = sizes_of(item)
    return replace(
        known, backup_id=backup_id, bytes=sizes[BYTES], files=sizes.get(FILES), rows=sizes.get(ROWS)
    )


def reasons_to_suspect(
    item: DatabasePart | TreePart, baseline: Baseline, share: float | None
) -> Iterator[Reason]:
    """Yield the reasons to suspect the copy ``item``, compared with its baseline (an earlier copy).

    For example, a copy is suspect if its size is below ``share`` of the size of the baseline.
    """
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
    """Return ``manifest``, changed so that each complete copy records the baseline that it is compared with.

    ``manifest`` is that of a new backup. ``baselines`` maps each database and tree to the earlier copy that
    is its baseline. A baseline is recorded only if ``vouched`` returns true for the id of its backup. In a
    safety copy nothing is recorded, because it is compared with nothing.
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
