"""Build a report from the storage and the settings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import fields
from datetime import datetime, timedelta

import igny8_backup
from igny8_backup.common.clock_skew import is_ahead
from igny8_backup.conf import STORAGE_ALIAS, Config
from igny8_backup.formats.documents.annotations import DRILLED, Annotations
from igny8_backup.formats.manifest import COMPLETE, RUNNING, Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.storage_memory import find_lost
from igny8_backup.operations.maintain.inventory import Inventory, read_inventory
from igny8_backup.operations.monitor.part_conditions import PartState
from igny8_backup.operations.monitor.run import judge_inventory, part_states
from igny8_backup.operations.report.fingerprints import key_facts
from igny8_backup.operations.report.model import (
    SCHEMA,
    AuditReport,
    BackupFacts,
    CheckFacts,
    CopyFacts,
    Finding,
    PartFacts,
    PolicyFacts,
    RunFacts,
)
from igny8_backup.operations.report.recovery import measure
from igny8_backup.retention.policy import Part


def build_report(context: BackupContext, period: timedelta) -> AuditReport:
    """Read the storage and return the report on the last ``period``. Raises ``StorageError``."""
    remembered = find_lost(context)
    inventory = read_inventory(context)
    health = judge_inventory(context, inventory, remembered)
    now, config = inventory.now, context.config
    since = now - period
    points = _recovery_points(inventory)
    return AuditReport(
        schema=SCHEMA,
        created=now,
        since=since,
        redacted=False,
        version=igny8_backup.__version__,
        environment=config.environment,
        storage=context.store.describe(),
        policy=_policy(config),
        keys=tuple(key_facts(context)),
        parts=tuple(
            _part(state, points[state.part.host, state.part.name], config, since, now)
            for state in part_states(inventory, config)
        ),
        conditions=len(health.conditions),
        findings=tuple(Finding(name=item.name, of=item.of, text=item.text) for item in health.failed),
        backups=tuple(_backups(inventory)),
        checks=tuple(item for item in _checks(inventory) if item.started >= since),
        failed_runs=tuple(_failed_runs(inventory, since)),
    )


def _policy(config: Config) -> PolicyFacts:
    rules = {field.name: getattr(config.retention, field.name) for field in fields(config.retention)}
    lock = config.object_lock.get(STORAGE_ALIAS)
    return PolicyFacts(
        retention={
            name: _seconds(value) if isinstance(value, timedelta) else value for name, value in rules.items()
        },
        encrypted=bool(config.recipients),
        signatures_required=config.trust.required,
        locked_days=lock.days if lock else None,
        verified_seconds=_seconds_or_none(config.limits.verified),
        drilled_seconds=_seconds_or_none(config.limits.drilled),
    )


def _recovery_points(inventory: Inventory) -> defaultdict[tuple[str, str], set[datetime]]:
    """Return, by host and name, the times to which a database or tree can be or could have been restored.

    These are the times of all copies that can be relied on, and of copies in backups that retention has
    removed. Run records outlive removed backups, so the removal of a backup leaves no gap.
    """
    found: defaultdict[tuple[str, str], set[datetime]] = defaultdict(set)
    existing = {entry.id for entry in inventory.entries}
    for run in inventory.runs:
        if run.id not in existing and run.stored_manifest and run.pruned:
            for name in set(run.requested) - run.errors.keys():
                found[run.host, name].add(run.started)
    for standing in inventory.standings.copies:
        if standing.fit:
            found[standing.part.host, standing.part.name].add(standing.started)
    return found


def _part(
    state: PartState, points: Iterable[datetime], config: Config, since: datetime, now: datetime
) -> PartFacts:
    max_age, limits, newest = config.max_age_of(state.part), config.limits, state.newest_fit
    measured = measure(set(points), since, now, max_age)
    return PartFacts(
        part=state.part,
        copies=len(state.copies),
        newest=newest.backup_id if newest else "",
        data_from=newest.as_of if newest else None,
        bytes=newest.bytes if newest else None,
        max_age_seconds=_seconds_or_none(max_age),
        points=measured.points,
        longest_seconds=_seconds_or_none(measured.longest),
        gaps=measured.gaps,
        verified=state.verified(limits.verified),
        drilled=state.drilled(limits.drilled),
        recovery_seconds=_recovery_seconds(state),
    )


def _recovery_seconds(state: PartState) -> int | None:
    """Return how long the newest successful drill took, as a measure of the time that a restore takes."""
    drills = [item.check for item in state.checks if item.check.depth == DRILLED and item.sound]
    newest = max(drills, key=lambda check: check.started, default=None)
    return _seconds(newest.finished - newest.started) if newest else None


def _backups(inventory: Inventory) -> Iterator[BackupFacts]:
    for entry in inventory.entries:
        if entry.manifest is None:
            yield BackupFacts(id=entry.id, started=entry.started, problem=entry.problem)
            continue
        manifest = entry.manifest
        yield BackupFacts(
            id=entry.id,
            started=manifest.started,
            host=manifest.host,
            seconds=_seconds(manifest.finished - manifest.started),
            copies=tuple(_copies(manifest, inventory)),
            encrypted=manifest.encrypted,
            signer=entry.verdict.signer if entry.verdict else "",
            stored_bytes=manifest.stored_bytes,
            pinned=inventory.annotations.get(entry.id, Annotations()).pin is not None,
        )


def _copies(manifest: Manifest, inventory: Inventory) -> Iterator[CopyFacts]:
    unfit = {
        item.part: tuple(dict.fromkeys(reason.kind for reason in item.unfit))
        for item in inventory.standings.of_backup(manifest.id)
    }
    for item in manifest.parts:
        part = Part(host=manifest.host, kind=item.kind, name=item.name)
        reasons = unfit.get(part, ())
        yield CopyFacts(kind=item.kind, name=item.name, state=item.state, bytes=item.bytes, unfit=reasons)


def _checks(inventory: Inventory) -> Iterator[CheckFacts]:
    hosts = {item.id: item.host for item in inventory.manifests}
    found = [item for items in inventory.stored_checks.values() for item in items]
    for item in sorted(found, key=lambda item: item.check.started, reverse=True):
        check = item.check
        if not is_ahead(check.started, inventory.now):
            yield CheckFacts(
                backup=check.id,
                host=check.host or hosts.get(check.id, ""),
                depth=check.depth,
                started=check.started,
                seconds=_seconds(check.finished - check.started),
                parts=tuple(part.name for part in check.parts or ()),
                objects=check.objects,
                read=check.read,
                bytes=check.bytes,
                damaged=len({damage.key for damage in check.all_damage()}),
                counts=not item.problem,
            )


def _failed_runs(inventory: Inventory, since: datetime) -> Iterator[RunFacts]:
    for run in inventory.settled_runs():
        if run.started >= since and (run.outcome != COMPLETE or run.errors):
            outcome = "killed" if run.outcome == RUNNING else run.outcome
            yield RunFacts(
                id=run.id,
                host=run.host,
                started=run.started,
                outcome=outcome,
                requested=run.requested,
                errors=run.errors,
            )


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())


def _seconds_or_none(duration: timedelta | None) -> int | None:
    return None if duration is None else _seconds(duration)
