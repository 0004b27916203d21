"""What a backup shares with others: what the loss of one object would cost, and what a restore reads."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from igny8_backup.formats.manifest import COMPLETE, Manifest
from igny8_backup.operations.history.read import History
from igny8_backup.retention.policy import Backup, Part, independent_copy


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """What a complete copy of a database or tree in a backup shares with other backups.

    ``objects`` is the number of objects in storage that a restore reads, ``bytes`` their size. Each needs at
    least one request. ``backups`` is the largest number of backups, this one included, that the loss of one
    of these objects would damage. ``independent`` is the id of the backup that retention keeps because it
    shares no object with the newest one. It is empty if there is none, and always for trees.
    """

    kind: str
    name: str
    objects: int
    bytes: int
    backups: int
    independent: str = ""


def shared_objects(manifest: Manifest, history: History) -> tuple[Sharing, ...]:
    """Return what each complete copy in a backup shares with the others in ``history``."""
    found = []
    for part in manifest.parts:
        if part.state != COMPLETE:
            continue
        needed = {item.key: item.stored_bytes for item in (*part.objects(), *part.lists())}
        users = Counter(
            key
            for other in history.manifests
            for key in {item.key for each in other.parts for item in (*each.objects(), *each.lists())}
            if key in needed
        )
        found.append(
            Sharing(
                kind=part.kind,
                name=part.name,
                objects=len(needed),
                bytes=sum(needed.values()),
                backups=max(users.values(), default=1),
                independent=_independent(Part(host=manifest.host, kind=part.kind, name=part.name), history),
            )
        )
    return tuple(found)


def sources_of(manifest: Manifest) -> dict[Part, frozenset[str]]:
    """Map each database whose dump is in chunks to the ids of the runs that wrote its packs."""
    return {
        Part(host=manifest.host, kind=part.kind, name=part.name): part.pack_writers()
        for part in manifest.databases
        if part.chunked
    }


def _independent(part: Part, history: History) -> str:
    copies = []
    for manifest in history.manifests:
        for copy in history.standings.of_backup(manifest.id):
            if copy.part == part:
                unfit = {} if copy.fit else {part: copy.why}
                sources = sources_of(manifest)
                copies.append(Backup(id=manifest.id, started=manifest.started, unfit=unfit, sources=sources))
    found = independent_copy(part, copies)
    return found.id if found else ""
