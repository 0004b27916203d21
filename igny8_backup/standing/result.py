"""The results of :func:`igny8_backup.standing.judge`: the standing of each copy, and the reasons for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from igny8_backup.formats.comparison import Baseline
from igny8_backup.formats.documents.annotations import ObjectDamage
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.formats.record_types import NOT_STORED
from igny8_backup.retention.policy import Part

DAMAGED, SUSPECT, SAFETY, UNTRUSTED, FUTURE = "damaged", "suspect", "safety", "untrusted", "future"
"""The kinds of reasons why a copy is unfit."""
SIZE, SERVER, MIGRATIONS = "size", "server", "migrations"
"""What makes a copy suspect: the values of ``Reason.cause``."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a copy is unfit.

    ``kind`` is ``damaged``, ``suspect``, ``safety``, ``untrusted`` or ``future``. ``cause`` says what is
    suspect: the ``size``, the database ``server`` or the applied ``migrations``. For other kinds it is empty.
    """

    kind: str
    text: str
    cause: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyStanding:
    """Whether the copy of ``part`` in the backup ``backup_id`` can be relied on, and why not.

    ``unfit`` are the reasons not to rely on the copy. ``accepted`` is the reason with which somebody accepted
    the copy although it was suspect, if any. The copy was compared with an earlier copy: ``baseline`` is the
    id of the backup of the earlier copy, ``compared_with`` has its sizes, and ``recorded`` says whether the
    backup ``backup_id`` records them. ``damage`` are its damaged objects.
    """

    part: Part
    backup_id: str
    started: datetime
    unfit: tuple[Reason, ...] = ()
    accepted: str = ""
    baseline: str = ""
    damage: tuple[ObjectDamage, ...] = ()
    compared_with: Baseline = field(default_factory=Baseline, metadata=NOT_STORED)
    recorded: bool = field(default=False, metadata=NOT_STORED)

    @property
    def fit(self) -> bool:
        return not self.unfit

    @property
    def suspect(self) -> bool:
        return self.is_unfit(SUSPECT)

    @property
    def damaged(self) -> bool:
        return self.is_unfit(DAMAGED)

    def is_unfit(self, kind: str) -> bool:
        """Return whether one of the reasons in ``unfit`` is of this kind."""
        return any(reason.kind == kind for reason in self.unfit)

    @property
    def why(self) -> str:
        """The reasons not to rely on the copy, as text; empty if it is fit."""
        return "; ".join(map(str, self.unfit))


@dataclass(frozen=True)
class Standings:
    """The standing of each complete copy (whether it can be relied on), oldest backup first.

    ``judge`` returns this. ``baselines`` maps each database and tree to the copy with which its next copy
    will be compared.
    """

    copies: tuple[CopyStanding, ...] = ()
    baselines: Mapping[Part, Baseline] = field(default_factory=dict)
    _by_backup: Mapping[str, dict[Part, CopyStanding]] = field(init=False, repr=False, compare=False)
    _by_part: Mapping[Part, list[CopyStanding]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_backup: defaultdict[str, dict[Part, CopyStanding]] = defaultdict(dict)
        by_part: defaultdict[Part, list[CopyStanding]] = defaultdict(list)
        for item in self.copies:
            by_backup[item.backup_id][item.part] = item
            by_part[item.part].append(item)
        object.__setattr__(self, "_by_backup", dict(by_backup))
        object.__setattr__(self, "_by_part", dict(by_part))

    def of(self, backup_id: str, part: Part) -> CopyStanding | None:
        """Return whether a copy can be relied on (its standing).

        The result is ``None`` if the backup has no complete copy of ``part``.
        """
        return self._by_backup.get(backup_id, {}).get(part)

    def of_part(self, manifest: Manifest, part: DatabasePart | TreePart) -> CopyStanding | None:
        """Return whether the copy ``part`` in a backup can be relied on; ``None`` if it is not complete."""
        return self.of(manifest.id, part_of(manifest, part))

    def of_backup(self, backup_id: str) -> tuple[CopyStanding, ...]:
        """Return, for each complete copy in a backup, whether it can be relied on (its standing)."""
        return tuple(self._by_backup.get(backup_id, {}).values())

    def of_series(self, part: Part) -> tuple[CopyStanding, ...]:
        """Return, for each copy of a database or tree, whether it can be relied on; newest first."""
        return tuple(reversed(self._by_part.get(part, [])))

    def newest_fit(self, part: Part) -> CopyStanding | None:
        """Return the newest copy of a database or tree that can be relied on, if there is one."""
        return next((item for item in self.of_series(part) if item.fit), None)

    @property
    def damaged_keys(self) -> frozenset[str]:
        """The keys of all damaged objects that a complete copy needs."""
        return frozenset(damage.key for item in self.copies for damage in item.damage)


def part_of(manifest: Manifest, part: DatabasePart | TreePart) -> Part:
    """Return the database or tree, with its host, of which ``part`` is a copy."""
    return Part(host=manifest.host, kind=part.kind, name=part.name)
