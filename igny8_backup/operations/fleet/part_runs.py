"""Read the run records that the hosts of a fleet backup write for the coordinator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from igny8_backup.catalog.signatures import judge_document
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.fleet import FleetPart
from igny8_backup.formats.documents.run_record import HEARTBEAT, SCHEMA, YIELDED, RunRecord
from igny8_backup.formats.manifest import FAILED, INCOMPLETE, LOCKED, RUNNING, STOPPED
from igny8_backup.operations.context import BackupContext
from igny8_backup.signing.trust import FLEET
from igny8_backup.store import MissingObjectError

SILENT = 5 * HEARTBEAT
"""A host whose record has not changed for this long counts as stopped."""

_NOTHING_DONE = {
    LOCKED: "another run on the host did not end in time",
    STOPPED: "the run was stopped",
    # Files may have been read since its snapshot, so a later dump does not belong to this fleet backup.
    YIELDED: "its dump ended for a session that waited for a table (YIELD_AFTER); a backup that the host"
    " makes later is kept, but is no part of this fleet backup",
}
"""Why a run has backed up nothing, by its outcome."""


@dataclass(frozen=True)
class _Seen:
    """A record of a part as it was last read, ``None`` if there is none any more.

    ``written`` is when it was stored, as the listing says. ``problem`` says why the record is not trusted.
    ``changed`` is when this process noticed its last change, by its own clock: the clock of the host may be
    wrong. It is ``None`` for a record that existed before: only its heartbeat says how old it is.
    """

    written: str
    run: RunRecord | None
    problem: str
    changed: datetime | None

    def is_at_work(self, now: datetime) -> bool:
        if self.run is None or self.problem or self.run.outcome != RUNNING:
            return False
        return self.run.is_alive(now) if self.changed is None else now - self.changed < SILENT


class PartRuns:
    """The run records of the parts of one fleet backup, as far as their hosts have written them.

    One listing finds the records that have changed, and only those are read again.
    """

    def __init__(self, context: BackupContext, fleet_id: str) -> None:
        self._context = context
        self._fleet_id = fleet_id
        self._found: dict[str, _Seen] = {}
        self._looked: datetime | None = None

    def refresh(self) -> None:
        """Read the records that are new or have changed. Raises ``StorageError``."""
        store = self._context.store
        listed = {
            item.key: item.written
            for item in store.list(keys.fleet_folder(self._fleet_id))
            if (parsed := keys.parse(item.key)) and parsed.kind == "fleet_part"
        }
        changed = [
            key
            for key, written in listed.items()
            if not written or key not in self._found or self._found[key].written != written
        ]
        store.prefetch(changed)
        now, looked = self._context.clock(), self._looked
        self._looked = now
        if looked and now - looked > 2 * HEARTBEAT:
            # The storage did not answer, or this machine was suspended: nobody could report meanwhile.
            self._found = {key: replace(seen, changed=now) for key, seen in self._found.items()}
        for key in changed:
            run, problem = self._read(key)
            known = self._found.get(key)
            since = now if looked else None
            if known and known.run == run:
                since = known.changed
            self._found[key] = _Seen(listed[key], run, problem, since)

    def settle(self, part: FleetPart) -> FleetPart:
        """Return ``part`` in the state that its host has recorded; unchanged if there is no record.

        A host whose run has not reported for minutes has failed. A part that has ended stays as it is.
        """
        seen = self._of(part)
        run, problem = (seen.run, seen.problem) if seen else (None, "")
        if part.ended or (run is None and not problem):
            return part
        if run is None or problem:
            return replace(part, state=FAILED, reason=problem)
        part = replace(part, backup_id=run.id)
        if self.is_at_work(part):
            return replace(part, state=RUNNING)
        if run.outcome == RUNNING:
            last = f"{run.heartbeat:%Y-%m-%d %H:%M:%S} UTC"
            return replace(part, state=FAILED, reason=f"the host has stopped reporting, last at {last}")
        failed = ", ".join(f"{name} ({kind})" for name, kind in run.errors.items())
        reason = f"{failed}; the log of its worker says why" if failed else ""
        if not run.stored_manifest:
            why = _NOTHING_DONE.get(run.outcome, f"the run ended as {run.outcome}")
            return replace(part, state=FAILED, reason=reason or why)
        if run.outcome == INCOMPLETE:
            reason = reason or "some files could not be read"
        return replace(part, state=run.outcome, manifest_sha256=run.manifest_sha256, reason=reason)

    def is_at_work(self, part: FleetPart) -> bool:
        """Return whether the host of ``part`` is still making it."""
        seen = self._of(part)
        return seen is not None and seen.is_at_work(self._context.clock())

    def has_snapshots(self, part: FleetPart) -> bool:
        """Return whether the snapshots of the databases of ``part`` exist."""
        seen = self._of(part)
        return seen is not None and seen.run is not None and seen.run.snapshots is not None

    def _of(self, part: FleetPart) -> _Seen | None:
        return self._found.get(keys.fleet_part_key(self._fleet_id, part.host, part.kind))

    def _read(self, key: str) -> tuple[RunRecord | None, str]:
        """Return the record ``key`` and why it is not trusted; only final records are signed."""
        parsed = keys.parse(key)
        try:
            data = self._context.store.read_small(key)
            record = records.from_json(RunRecord, data, name=f"The record {key}", schema=SCHEMA)
        except MissingObjectError:
            return None, ""
        except IntegrityError as error:
            return None, f"its record cannot be read: {error.what}"
        if parsed is None or record.host != parsed.host or record.fleet != self._fleet_id:
            return None, "its record is that of another run"
        trust = self._context.config.trust
        if not trust.required or record.outcome == RUNNING:
            return record, ""
        verdict = judge_document(self._context.store, trust, key, FLEET, data, host=record.host, parts=())
        return record, f"its record is not trusted: {verdict.problem}" if verdict.problem else ""
