"""Decide for each complete copy of each database and tree whether it can be relied on: :func:`judge`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from igny8_backup.clock_skew import is_ahead
from igny8_backup.formats.annotations import AcceptedPart, Annotations, Check, ObjectDamage
from igny8_backup.formats.manifest import COMPLETE, DatabasePart, Manifest, TreePart
from igny8_backup.humanize import count_in_words, duration_in_words
from igny8_backup.retention import Part
from igny8_backup.standing.damage import DamageFinder, keys_of
from igny8_backup.standing.sizes import Sizes, drop_in, sizes_of
from igny8_backup.standing.sources import KnownSource, migrations_back, other_server

DAMAGED, SUSPECT, SAFETY, UNTRUSTED, FUTURE = "damaged", "suspect", "safety", "untrusted", "future"
"""The kinds of reasons why a copy is unfit."""
SIZE, SERVER, MIGRATIONS = "size", "server", "migrations"
"""What makes a copy suspect: the values of ``Reason.cause``."""

Shrink = Callable[[Part, str], float | None]
"""A function that returns the setting ``SHRINK`` for a part and its role (``sites``, ``logs``, or empty for a
database). That is the smallest acceptable share of the previous copy's size; ``None`` accepts every size."""


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


@dataclass(frozen=True, kw_only=True)
class CopyStanding:
    """The standing of the copy of ``part`` in the backup ``backup_id``.

    ``unfit`` are the reasons not to rely on the copy. ``accepted`` is the reason with which somebody accepted
    the copy although it was suspect, if any. ``baseline`` is the id of the backup that its size was compared
    with. ``damage`` are its damaged objects.
    """

    part: Part
    backup_id: str
    started: datetime
    unfit: tuple[Reason, ...] = ()
    accepted: str = ""
    baseline: str = ""
    damage: tuple[ObjectDamage, ...] = ()

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
    """The standings of all complete copies, oldest backup first. Made by :func:`judge`."""

    copies: tuple[CopyStanding, ...] = ()
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
        """Return the standing of one copy; ``None`` if the backup has no complete copy of ``part``."""
        return self._by_backup.get(backup_id, {}).get(part)

    def of_part(self, manifest: Manifest, part: DatabasePart | TreePart) -> CopyStanding | None:
        """Return the standing of the copy ``part`` in a backup; ``None`` if it is not complete."""
        return self.of(manifest.id, part_of(manifest, part))

    def of_backup(self, backup_id: str) -> tuple[CopyStanding, ...]:
        """Return the standings of all complete copies in a backup."""
        return tuple(self._by_backup.get(backup_id, {}).values())

    def of_series(self, part: Part) -> tuple[CopyStanding, ...]:
        """Return the standings of all copies of a database or tree, newest first."""
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


def judge(
    manifests: Iterable[Manifest],
    annotations: Mapping[str, Annotations],
    *,
    now: datetime,
    shrink: Shrink,
    damage: Iterable[ObjectDamage] = (),
    untrusted: Mapping[str, str] | None = None,
    past: Iterable[Check] = (),
) -> Standings:
    """Return the standings of all complete copies in ``manifests``.

    ``annotations`` are those of the backups, by id. ``past`` are checks of backups that were removed.
    ``damage`` is damage that no check has recorded, such as objects that a listing lacks. ``untrusted`` maps
    the ids of backups that no trusted key signed to the reason. The size of a copy, its database server and
    its migrations are compared with those of the newest earlier copy that is fit, or that is unfit only
    because of damage outside its manifest. A copy that is dated later than the time ``now`` is unfit.
    """
    ordered = sorted(manifests, key=lambda item: (item.started, item.id))
    finder = DamageFinder(ordered, annotations, now, damage, past)
    baselines: dict[Part, _Baseline] = {}
    found: list[CopyStanding] = []
    for manifest in ordered:
        notes = annotations.get(manifest.id, Annotations())
        for item in manifest.parts:
            if item.state != COMPLETE:
                continue
            part = part_of(manifest, item)
            standing = _judge_copy(manifest, item, notes, finder, shrink, baselines.get(part))
            if problem := (untrusted or {}).get(manifest.id):
                reason = Reason(kind=UNTRUSTED, text=problem)
                standing = replace(standing, unfit=(reason, *standing.unfit))
            if is_ahead(manifest.started, now):
                ahead = duration_in_words(manifest.started - now)
                reason = Reason(kind=FUTURE, text=f"it is dated {ahead} ahead of this host's clock")
                standing = replace(standing, unfit=(reason, *standing.unfit))
            found.append(standing)
            usable = not any(map(standing.is_unfit, (SUSPECT, SAFETY, UNTRUSTED, FUTURE)))
            if usable and not _is_forged(manifest, standing):
                baselines[part] = _Baseline.of(manifest, item, baselines.get(part))
    return Standings(tuple(found))


@dataclass(frozen=True, kw_only=True)
class _Baseline:
    """The sizes and source of the copy in ``backup_id``, with which the next copy is compared."""

    backup_id: str = ""
    sizes: Sizes | None = None
    source: KnownSource = KnownSource()

    @classmethod
    def of(cls, manifest: Manifest, item: DatabasePart | TreePart, before: _Baseline | None) -> _Baseline:
        source = before.source if before else KnownSource()
        if isinstance(item, DatabasePart):
            source = source.after(item, manifest.id)
        return cls(backup_id=manifest.id, sizes=sizes_of(item), source=source)

    def reasons_to_suspect(self, item: DatabasePart | TreePart, share: float | None) -> Iterator[Reason]:
        """Yield the reasons to suspect a copy, such as a size below ``share`` of the earlier size."""
        from_backup = f"backup {self.backup_id}" if self.backup_id else ""
        found = {SIZE: drop_in(item, self.sizes, share, from_backup)}
        if isinstance(item, DatabasePart):
            found |= {SERVER: other_server(item, self.source), MIGRATIONS: migrations_back(item, self.source)}
        for cause, text in found.items():
            if text:
                yield Reason(kind=SUSPECT, text=text, cause=cause)


def _judge_copy(
    manifest: Manifest,
    item: DatabasePart | TreePart,
    annotations: Annotations,
    finder: DamageFinder,
    shrink: Shrink,
    before: _Baseline | None,
) -> CopyStanding:
    part, baseline = part_of(manifest, item), before or _Baseline()
    damage = tuple(_damage(manifest, item, finder))
    accepted = _accepted(annotations, part)
    reasons = []
    if damage:
        more = f" and {count_in_words(len(damage) - 1, 'other object')}" if len(damage) > 1 else ""
        reasons.append(Reason(kind=DAMAGED, text=f"{damage[0].key} is {damage[0].kind}{more}"))
    if manifest.safety:
        text = "it holds what was live before a restore in place"
        reasons.append(Reason(kind=SAFETY, text=text))
    elif not accepted:
        role = item.role if isinstance(item, TreePart) else ""
        reasons += baseline.reasons_to_suspect(item, shrink(part, role))
    return CopyStanding(
        part=part,
        backup_id=manifest.id,
        started=manifest.started,
        unfit=tuple(reasons),
        accepted=accepted.reason if accepted else "",
        baseline=baseline.backup_id,
        damage=damage,
    )


def _damage(
    manifest: Manifest, item: DatabasePart | TreePart, finder: DamageFinder
) -> Iterator[ObjectDamage]:
    for key in keys_of(manifest, item):
        if found := finder.of(manifest.id, key):
            yield found


def _accepted(annotations: Annotations, part: Part) -> AcceptedPart | None:
    parts = annotations.acceptance.parts if annotations.acceptance else ()
    return next((item for item in parts if (item.kind, item.name) == (part.kind, part.name)), None)


def _is_forged(manifest: Manifest, standing: CopyStanding) -> bool:
    """Return whether the manifest is damaged, so that the sizes in the manifest can be wrong."""
    return any(item.key.endswith("/manifest.json") for item in standing.damage)
