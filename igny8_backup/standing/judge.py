"""Decide for each complete copy of each database and tree whether it can be relied on: :func:`judge`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from igny8_backup.common.clock_skew import is_ahead
from igny8_backup.common.humanize import count_in_words, duration_in_words
from igny8_backup.formats.acceptance import AcceptedPart, JudgedPart
from igny8_backup.formats.comparison import Baseline
from igny8_backup.formats.documents.annotations import Annotations, Check, ObjectDamage
from igny8_backup.formats.manifest import COMPLETE, Manifest
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.retention.policy import Part
from igny8_backup.standing.baselines import baseline_of, reasons_to_suspect
from igny8_backup.standing.damage import DamageFinder, keys_of
from igny8_backup.standing.result import (
    DAMAGED,
    FUTURE,
    SAFETY,
    UNTRUSTED,
    CopyStanding,
    Reason,
    Standings,
    part_of,
)

Shrink = Callable[[Part, str], float | None]
"""A function that returns the setting ``SHRINK`` for a part and its role (``sites``, ``logs``, or empty for a
database). That is the smallest acceptable share of the previous copy's size; ``None`` accepts every size."""


def judge(
    manifests: Iterable[Manifest],
    annotations: Mapping[str, Annotations],
    *,
    now: datetime,
    shrink: Shrink,
    damage: Iterable[ObjectDamage] = (),
    untrusted: Mapping[str, str] | None = None,
    past: Iterable[Check] = (),
    anew: Mapping[Part, str] | None = None,
) -> Standings:
    """Return the standing of each complete copy in ``manifests``: whether it can be relied on, and why not.

    ``annotations`` maps the ids of the backups to their annotations. ``past`` are checks of backups that were
    removed. ``damage`` is damage that no check has recorded, such as objects that a listing lacks.
    ``untrusted`` maps the ids of backups that no trusted key signed to the reason. A copy that is dated later
    than the time ``now`` is unfit.

    The size of a copy, its database server and its migrations are compared with an earlier copy, the
    baseline. Normally the acceptance of the copy or its manifest records the baseline, so the verdict does
    not change when retention removes the backup with the baseline. If nothing is recorded, or if the recorded
    baseline is in an untrusted backup, the copy is compared with the newest earlier copy that is fit, or that
    is unfit only because of damage outside its manifest. ``anew`` maps databases and trees to ids of backups:
    for later copies of these databases and trees, the records are ignored.
    """
    ordered = sorted(manifests, key=lambda item: (item.started, item.id))
    finder = DamageFinder(ordered, annotations, now, damage, past)
    doubted, since = untrusted or {}, anew or {}
    baselines: dict[Part, Baseline] = {}
    found: list[CopyStanding] = []
    for manifest in ordered:
        notes = annotations.get(manifest.id, Annotations())
        for item in manifest.parts:
            if item.state != COMPLETE:
                continue
            part = part_of(manifest, item)
            newest = baselines.get(part, Baseline())
            baseline = newest
            recorded = _recorded(manifest, item, notes)
            if recorded and recorded.backup_id not in doubted and not since.get(part, "~") < manifest.id:
                baseline = recorded
            standing = _judge_copy(manifest, item, notes, finder, shrink, baseline)
            if problem := doubted.get(manifest.id):
                reason = Reason(kind=UNTRUSTED, text=problem)
                standing = replace(standing, unfit=(reason, *standing.unfit))
            if is_ahead(manifest.started, now):
                ahead = duration_in_words(manifest.started - now)
                reason = Reason(kind=FUTURE, text=f"it is dated {ahead} ahead of this host's clock")
                standing = replace(standing, unfit=(reason, *standing.unfit))
            found.append(standing)
            if any(map(standing.is_unfit, (SAFETY, UNTRUSTED, FUTURE))) or _is_forged(manifest, standing):
                continue
            if not standing.suspect:
                baselines[part] = baseline_of(manifest.id, item, baseline)
            elif baseline.backup_id > newest.backup_id:  # that backup is no longer in the storage
                baselines[part] = baseline
    return Standings(tuple(found), baselines)


def judge_again(before: Standings, after: Standings, part: Part, since: str) -> Mapping[str, Baseline]:
    """Return the baselines to record for the copies of ``part`` that are later than the backup ``since``.

    Call this when an acceptance in ``since`` has changed. ``before`` are the standings according to the
    existing records, ``after`` those of :func:`judge` with ``anew={part: since}``. The result maps the ids of
    backups to baselines. A backup is in the result if it records no baseline, or if its copy would be judged
    differently with the recorded one.
    """
    found = {}
    for copy in after.of_series(part):
        earlier = before.of(copy.backup_id, part)
        if copy.backup_id > since and earlier and (not earlier.recorded or earlier.suspect != copy.suspect):
            found[copy.backup_id] = copy.compared_with
    return found


def _recorded(manifest: Manifest, item: DatabasePart | TreePart, annotations: Annotations) -> Baseline | None:
    """Return the baseline that an acceptance or the manifest records for a copy; ``None`` if neither does."""
    judged = annotations.acceptance.judged if annotations.acceptance else ()
    again = _named(judged, item.kind, item.name)
    found = again.baseline if again else item.baseline
    return found if found and found.backup_id < manifest.id else None


def _judge_copy(
    manifest: Manifest,
    item: DatabasePart | TreePart,
    annotations: Annotations,
    finder: DamageFinder,
    shrink: Shrink,
    baseline: Baseline,
) -> CopyStanding:
    part = part_of(manifest, item)
    damage = tuple(_damage(manifest, item, finder))
    accepted = _named(annotations.acceptance.parts if annotations.acceptance else (), part.kind, part.name)
    reasons = []
    if damage:
        more = f" and {count_in_words(len(damage) - 1, 'other object')}" if len(damage) > 1 else ""
        reasons.append(Reason(kind=DAMAGED, text=f"{damage[0].key} is {damage[0].kind}{more}"))
    if manifest.safety:
        text = "it holds what was live before a restore in place"
        reasons.append(Reason(kind=SAFETY, text=text))
    elif not accepted:
        role = item.role if isinstance(item, TreePart) else ""
        reasons += reasons_to_suspect(item, baseline, shrink(part, role))
    return CopyStanding(
        part=part,
        backup_id=manifest.id,
        started=manifest.started,
        unfit=tuple(reasons),
        accepted=accepted.reason if accepted else "",
        baseline=baseline.backup_id,
        damage=damage,
        compared_with=baseline,
        recorded=_recorded(manifest, item, annotations) is not None,
    )


def _damage(
    manifest: Manifest, item: DatabasePart | TreePart, finder: DamageFinder
) -> Iterator[ObjectDamage]:
    if not finder.found_any:
        return
    for key in keys_of(manifest, item):
        if found := finder.of(manifest.id, key):
            yield found


N = TypeVar("N", AcceptedPart, JudgedPart)


def _named(parts: Iterable[N], kind: str, name: str) -> N | None:
    return next((item for item in parts if (item.kind, item.name) == (kind, name)), None)


def _is_forged(manifest: Manifest, standing: CopyStanding) -> bool:
    """Return whether the manifest is damaged, so that the sizes in the manifest can be wrong."""
    return any(item.key.endswith("/manifest.json") for item in standing.damage)
