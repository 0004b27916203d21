"""The goals of ``benchmarks.stored``, and the size of a manifest that names a thousand packs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from igny8_backup.formats import keys, records
from igny8_backup.formats.manifest import COMPLETE, SCHEMA, Manifest
from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.backup.lists import store_lists
from igny8_backup.operations.context import BackupContext

PACKS = 1000
PEAK_MIB = 150
SECONDS = {"first": 10.0, "folder": 10.0, "again": 3.0}
"""The goal of each round: without what earlier commands have read, and with it."""


def most_requests(objects: int) -> int:
    """Return how many requests an operation may send to a storage with so many ``objects``."""
    return objects * 12 // 10_000 + 30


def verdicts(measured: Mapping[str, Mapping[str, Any]], objects: int) -> Iterator[str]:
    """Yield a line for each operation in each round: what was measured, the goal, and whether it was met.

    Times and requests of ``restore without id`` have no goal. On a folder, requests are calls of the store.
    """
    requests_goal = most_requests(objects)
    for round_name, found in measured.items():
        limit = SECONDS[round_name]
        for name, one in found.items():
            sent = sum(one["requests"].values())
            met = sent <= requests_goal and one["seconds"] <= limit and one["MiB"] <= PEAK_MIB
            yield (
                f"{round_name:<7}{name:<20}{sent:>6} requests (at most {requests_goal})"
                f"{one['seconds']:>7.2f} s (at most {limit:.0f}), CPU {one['CPU seconds']:.2f} s"
                f"{one['MiB']:>5} MiB (at most {PEAK_MIB})  {'met' if met else 'MISSED'}"
            )


def manifest_sizes(context: BackupContext) -> dict[str, int]:
    """Return the bytes of a manifest with ``PACKS`` packs: written in it, in lists beside it, and the lists.

    Stores the lists in the storage of ``context``.
    """
    started = datetime(2026, 9, 1, tzinfo=UTC)
    backup_id = keys.make_id(started, "0" * 6)

    def stored(key: str) -> StoredObject:
        return StoredObject(
            key=key, stored_bytes=7 << 20, raw_bytes=8 << 20, sha256="a" * 64, codecs=("zstd",)
        )

    names = (keys.pack_name(backup_id, number) for number in range(1, PACKS + 1))
    tree = TreePart(
        name="sites",
        role="sites",
        state=COMPLETE,
        started=started,
        finished=started,
        index=stored(keys.index_key(backup_id, "sites", ".zst")),
        folders=stored(keys.folders_key(backup_id, "sites", ".zst")),
        packs=tuple(stored(keys.pack_key(context.config.host, "sites", name, ".zst")) for name in names),
    )
    inline = Manifest(
        schema=1,
        id=backup_id,
        host=context.config.host,
        environment="benchmark",
        label="",
        started=started,
        finished=started,
        requested=("sites",),
        software={},
        details=stored(keys.details_key(backup_id, ".zst")),
        trees=(tree,),
    )
    before = {item.key for item in context.store.list()}
    listed = store_lists(context, replace(inline, schema=SCHEMA))
    return {
        "packs in the manifest": len(records.to_json(inline)),
        "packs in lists": len(records.to_json(listed.as_stored())),
        "the lists": sum(item.size for item in context.store.list() if item.key not in before),
    }
