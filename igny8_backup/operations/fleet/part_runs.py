"""Read the run records that the hosts of a fleet backup write for the coordinator."""

from __future__ import annotations

from dataclasses import replace

from igny8_backup.catalog.signatures import judge_document
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.fleet import FleetPart
from igny8_backup.formats.documents.run_record import SCHEMA, RunRecord
from igny8_backup.formats.manifest import FAILED, INCOMPLETE, RUNNING
from igny8_backup.operations.context import BackupContext
from igny8_backup.signing.trust import FLEET
from igny8_backup.store import MissingObjectError


class PartRuns:
    """The run records of the parts of one fleet backup, as far as their hosts have written them.

    One listing finds the records that have changed, and only those are read again.
    """

    def __init__(self, context: BackupContext, fleet_id: str) -> None:
        self._context = context
        self._fleet_id = fleet_id
        self._found: dict[str, tuple[str, RunRecord | None, str]] = {}

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
            if not written or key not in self._found or self._found[key][0] != written
        ]
        store.prefetch(changed)
        for key in changed:
            self._found[key] = (listed[key], *self._read(key))

    def settle(self, part: FleetPart) -> FleetPart:
        """Return ``part`` in the state that its host has recorded; unchanged if there is no record.

        A host whose run has not reported for minutes has failed. A part that has ended stays as it is.
        """
        run, problem = self._of(part)
        if part.ended or (run is None and not problem):
            return part
        if run is None or problem:
            return replace(part, state=FAILED, reason=problem)
        part = replace(part, backup_id=run.id)
        if run.is_alive(self._context.clock()):
            return replace(part, state=RUNNING)
        if run.outcome == RUNNING:
            seen = f"{run.heartbeat:%Y-%m-%d %H:%M:%S} UTC"
            return replace(part, state=FAILED, reason=f"the host has stopped reporting, last at {seen}")
        failed = ", ".join(f"{name} ({kind})" for name, kind in run.errors.items())
        reason = f"failed: {failed}" if failed else ""
        if not run.stored_manifest:
            return replace(part, state=FAILED, reason=reason or f"the run ended as {run.outcome}")
        if run.outcome == INCOMPLETE:
            reason = reason or "some files could not be read"
        return replace(part, state=run.outcome, manifest_sha256=run.manifest_sha256, reason=reason)

    def has_snapshots(self, part: FleetPart) -> bool:
        """Return whether the snapshots of the databases of ``part`` exist."""
        run, _ = self._of(part)
        return run is not None and run.snapshots is not None

    def _of(self, part: FleetPart) -> tuple[RunRecord | None, str]:
        """Return the record of a part, ``None`` if there is none, and why it is not trusted, or ``""``."""
        key = keys.fleet_part_key(self._fleet_id, part.host, part.kind)
        _, record, problem = self._found.get(key, ("", None, ""))
        return record, problem

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
