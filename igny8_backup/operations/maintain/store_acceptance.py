"""Store an acceptance, or its withdrawal, and record what it changes for later copies."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from igny8_backup.formats import keys
from igny8_backup.formats.acceptance import Acceptance, AcceptedPart, JudgedPart
from igny8_backup.formats.documents.annotations import SCHEMA, Annotations
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.documents import manifest_digest, store_signed, why_unsigned
from igny8_backup.operations.history.read import History, untrusted_in
from igny8_backup.retention.policy import Part
from igny8_backup.signing.trust import ACCEPTANCE, part_token
from igny8_backup.standing import Standings, judge, judge_again


def store_acceptance(
    context: BackupContext, history: History, backup_id: str, parts: tuple[AcceptedPart, ...]
) -> Acceptance | None:
    """Make ``parts`` the accepted databases and trees of a backup; return the acceptance, if there is one.

    Later copies of the databases and trees whose acceptance changes are judged again. Where the verdict
    changes, the acceptance of the later backup records the copy with which it was compared, because the
    backup ``backup_id`` may be removed one day. The records of later backups are stored first: if this
    function is interrupted, the command can be repeated. A record that ``TRUSTED`` would reject is not
    stored. Raises ``IdentityError`` and ``StorageError``.
    """
    before = _acceptance(history, backup_id)
    made = replace(before, parts=parts)
    changed = set(made.parts) ^ set(before.parts)
    host = next(entry.manifest.host for entry in history.entries if entry.id == backup_id and entry.manifest)
    judged: defaultdict[str, list[JudgedPart]] = defaultdict(list)
    for kind, name in {(item.kind, item.name) for item in changed}:
        part = Part(host=host, kind=kind, name=name)
        found = judge_again(
            history.standings, _judge_after(context, history, made, part), part, since=backup_id
        )
        for later, baseline in found.items():
            judged[later].append(JudgedPart(kind=kind, name=name, baseline=baseline))
    trusted = {entry.id for entry in history.entries if entry.manifest and not entry.untrusted}
    for later in sorted(trusted & judged.keys(), reverse=True):
        again = _with_judged(_acceptance(history, later), judged[later])
        named = [part_token(item.kind, item.name) for item in again.parts]
        named += [part_token(item.kind, item.name) for item in again.judged]
        if not why_unsigned(context, ACCEPTANCE, host, named):  # it may replace one that counts
            _store(context, again)
    _store(context, made)
    return made if made.parts or made.judged else None


def _judge_after(context: BackupContext, history: History, made: Acceptance, part: Part) -> Standings:
    """Judge all copies as if the acceptance ``made`` were stored; return which can be relied on.

    Copies of ``part`` that are later than the backup of ``made`` are judged without recorded baselines.
    """
    notes = dict(history.annotations)
    notes[made.id] = replace(notes.get(made.id, Annotations()), acceptance=made)
    return judge(
        history.manifests,
        notes,
        now=history.now,
        shrink=context.config.shrink_of,
        damage=history.absent,
        untrusted=untrusted_in(history.entries),
        past=history.past_checks,
        anew={part: made.id},
    )


def _acceptance(history: History, backup_id: str) -> Acceptance:
    found = history.annotations.get(backup_id, Annotations()).acceptance
    return found or Acceptance(schema=SCHEMA, id=backup_id)


def _with_judged(acceptance: Acceptance, judged: list[JudgedPart]) -> Acceptance:
    kept = {(item.kind, item.name): item for item in (*acceptance.judged, *judged)}
    return replace(acceptance, judged=tuple(kept.values()))


def _store(context: BackupContext, acceptance: Acceptance) -> None:
    key = keys.acceptance_key(acceptance.id)
    if acceptance.parts or acceptance.judged:
        digest = manifest_digest(context, acceptance.id)
        store_signed(context, key, ACCEPTANCE, replace(acceptance, manifest_sha256=digest))
    else:
        context.store.delete(key)
