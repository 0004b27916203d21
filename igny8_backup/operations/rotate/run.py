"""Give existing backups the recipients of the settings, without encrypting their data again.

:func:`rotate` is the entry point. For each group of backups, it first stores the objects with new headers,
under new keys. Then it stores new lists. Finally it replaces the manifests one after the other. Both the old
manifest and the new one are complete at every moment. The old objects become orphans, which ``prune_backups``
removes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from igny8_backup.catalog.backups import Entry
from igny8_backup.errors import BackupError, IdentityError, IntegrityError
from igny8_backup.formats import keys
from igny8_backup.formats.lists import ListedObject
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.presence import is_lost
from igny8_backup.operations.rotate.journal import open_journal
from igny8_backup.operations.rotate.objects import Rewriter
from igny8_backup.operations.rotate.plan import Group, RotationPlan, contents_of, plan_rotation
from igny8_backup.operations.rotate.switch import Switch, tidy
from igny8_backup.signing.trust import MANIFEST
from igny8_backup.store import MissingObjectError

CHANGED_MEANWHILE = (
    "other backups share packs with it now than when the plan was shown: run the command again"
)


@dataclass(frozen=True, kw_only=True)
class RotationResult:
    """The ids of the backups that were ``rotated``.

    ``left`` and ``refused`` map the ids of others to the reasons, as in :class:`RotationPlan`.
    """

    rotated: tuple[str, ...]
    left: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def problems(self) -> list[str]:
        """Return one line for each backup that was not rotated."""
        return [f"NOT ROTATED: backup {backup_id}: {reason}." for backup_id, reason in self.refused.items()]


def rotate(
    context: BackupContext, shown: RotationPlan, identity_file: Path | None, ids: Sequence[str] = ()
) -> RotationResult:
    """Carry out the plan ``shown``, which was shown to the operator and made for the backups ``ids``.

    The plan is made once more under the locks. A group of backups that is larger than in ``shown`` is
    refused. A group with a damaged object is refused too, and stays as it is. If the rotation is interrupted,
    the next call with the same recipients continues it.

    Raises the errors of :func:`plan_rotation`, ``LockedError``, ``StorageError`` and ``FilesError``. After an
    error, each backup has either its old recipients or the new ones.
    """
    rotated: list[str] = []
    with context.locked("rotating recipients") as locks:

        def check() -> None:
            for lock in locks:
                lock.check(unchanged="No other manifest was replaced.")

        _finish_interrupted(context, check)
        plan, identities = plan_rotation(context, identity_file, ids)
        refused = dict(plan.refused)
        journal = open_journal(context, plan.recipients)
        if plan.groups:
            journal.begin()
        work = Rewriter(context, journal, identities)
        context.progress.begin("rotation", plan.bytes, plan.objects, "objects")
        try:
            for group in plan.groups:
                if not set(group.ids) <= set(shown.ids):
                    refused |= dict.fromkeys(group.ids, CHANGED_MEANWHILE)
                    continue
                try:
                    _rotate_group(context, group, work, check, rotated)
                except (IntegrityError, MissingObjectError, IdentityError) as error:
                    reason = (
                        f"{error.object_key} cannot be read: {error.what}" if error.object_key else error.what
                    )
                    unfinished = [backup_id for backup_id in group.ids if backup_id not in rotated]
                    refused |= dict.fromkeys(unfinished, reason.removesuffix("."))
        except BackupError as error:
            error.add_context(
                f"{len(rotated)} of {len(plan.ids)} backups have new recipients; the others are as before."
                " Run rotate_recipients again: it continues."
            )
            raise
        finally:
            context.progress.end()
        journal.end()
    return RotationResult(rotated=tuple(rotated), left=plan.left, refused=refused)


def _rotate_group(
    context: BackupContext, group: Group, work: Rewriter, check: Callable[[], None], rotated: list[str]
) -> None:
    """Rotate backups that share packs (tar archives of files); add the id of each to ``rotated``."""
    entries = _read_again(context, group)
    manifests = [entry.manifest for entry in entries if entry.manifest]
    made: dict[str, ListedObject] = {}
    for key, item in contents_of(manifests).items():
        check()
        made[key] = work.store(item)
    switch = Switch(context, work.journal, check)
    for manifest in switch.store_lists(manifests, made):
        switch.replace_manifest(manifest)
        rotated.append(manifest.id)


def _read_again(context: BackupContext, group: Group) -> list[Entry]:
    """Return the backups of a group as they are now. Raises ``IntegrityError`` if one is not trusted."""
    entries = context.catalog.entries(group.ids)
    for entry in entries:
        if entry.manifest is None or entry.untrusted:
            raise IntegrityError(f"the manifest of {entry.id} was changed meanwhile: run the command again")
    return entries


def _finish_interrupted(context: BackupContext, check: Callable[[], None]) -> None:
    """Finish the replacement of manifests that an interrupted rotation of this host has begun.

    Some storages cannot replace an object in one step, so a manifest can be gone: it is stored again. If the
    new manifest was stored, its run record and signatures are updated (see :func:`tidy`). If it was never
    stored, its signature is deleted.

    Only manifests in the journal of this host are handled. Other manifests also name the manifests that they
    replace, but are not believed: a host could name a manifest of another host.
    """
    documents = open_journal(context, ()).documents
    for key, document in documents.items():
        parsed = keys.parse(key)
        if parsed and parsed.kind == "manifest" and is_lost(context, parsed.backup_id):
            check()
            context.store.put_small(key, document)
    for entry in context.catalog.entries():
        if entry.manifest is None or entry.untrusted:
            continue
        check()
        key = keys.manifest_key(entry.id)
        if key not in documents:
            continue
        digest = hashlib.sha256(documents[key]).hexdigest()
        if digest == entry.manifest_sha256:
            tidy(context, entry.manifest, digest)
        else:
            context.store.delete(keys.signature_key(key, MANIFEST, documents[key]))
