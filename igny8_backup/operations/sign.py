"""Adopt backups that were made before backups were signed: verify them, then sign their manifests."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass

from igny8_backup.catalog.failures import of_one_object
from igny8_backup.catalog.signatures import judge_manifest, store_signature
from igny8_backup.errors import IntegrityError, StorageError, UsageError
from igny8_backup.formats import keys
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.guards.genuine import require_encryption
from igny8_backup.operations.history.documents import record_removal, why_unsigned
from igny8_backup.operations.history.presence import lost_backups
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.verifier import SharedResults, Verifier
from igny8_backup.signing.signing_key import SigningKey
from igny8_backup.signing.trust import MANIFEST, REMOVAL, part_token


@dataclass(frozen=True, kw_only=True)
class SignResult:
    """The ids of the backups that were ``signed``, had a trusted signature ``already``, or were ``refused``.

    ``refused`` maps the ids to the reasons.
    """

    signed: tuple[str, ...]
    already: tuple[str, ...]
    refused: dict[str, str]

    def problems(self) -> list[str]:
        """Return one line for each backup that was not signed."""
        return [f"NOT SIGNED: {backup_id}: {reason}" for backup_id, reason in self.refused.items()]


def sign_backups(context: BackupContext, ids: tuple[str, ...] = ()) -> SignResult:
    """Verify and sign the backups ``ids``, or all backups that this host knows, oldest first.

    Backups with the signature of a trusted key are left alone, unless the key is revoked. Every stored object
    of the others is read first and compared with the manifest, because a signature confirms the contents. A
    backup is not signed if it is damaged, if one of its objects cannot be read, if it is unencrypted although
    ``RECIPIENTS`` is set, or if the setting ``TRUSTED`` would not accept the signature of this host.

    Without ``ids``, a backup that this host does not know is not signed either: somebody else may have put it
    into the storage. This host knows the backups that it made, those that it trusted before, and those that
    were in the storage when this host first looked there with ``TRUSTED`` in its settings.

    Raises ``UsageError`` without a signing key in the settings or for an unknown id; ``IdentityError``;
    ``StorageError`` if the storage cannot be used at all.
    """
    key = _load_key(context)
    signed: list[str] = []
    already: list[str] = []
    refused: dict[str, str] = {}
    with closing(SharedResults()) as shared:
        for backup_id in ids or [entry.id for entry in reversed(context.catalog.entries())]:
            try:
                done = _sign(context, key, backup_id, shared, named=backup_id in ids)
            except IntegrityError as error:
                refused[backup_id] = error.what
            except StorageError as error:
                refused[backup_id] = of_one_object(context.store, error)
            else:
                (signed if done else already).append(backup_id)
    return SignResult(signed=tuple(signed), already=tuple(already), refused=refused)


def sign_removals(context: BackupContext) -> SignResult:
    """Store a signed removal document for each backup whose run record says that prune_backups removed it.

    Run records are not signed, so whoever may write to the storage can change them. Therefore removals are
    signed only if the operator asks for it, once after setting ``TRUSTED``. Removals that the key of this
    host may not sign are refused. Raises ``UsageError`` without a signing key in the settings;
    ``IdentityError``; ``StorageError``.
    """
    _load_key(context)
    signed: list[str] = []
    refused: dict[str, str] = {}
    with context.locked("signing removals"):
        runs = context.catalog.runs()
        for run in lost_backups(context, context.catalog.entries(), runs):
            if run.pruned is None:
                continue
            if reason := why_unsigned(context, REMOVAL, run.host, run.requested):
                refused[run.id] = reason
                continue
            reason = "its run record said that it was pruned, when removals were first signed"
            record_removal(context, run.id, host=run.host, parts=run.requested, reason=reason)
            signed.append(run.id)
    return SignResult(signed=tuple(signed), already=(), refused=refused)


def _load_key(context: BackupContext) -> SigningKey:
    key = context.load_signing_key()
    if key is None:
        hint = "Create one: generate_signing_key FILE, and set IGNY8_BACKUP['SIGNING']."
        raise UsageError("The settings name no signing key.", unchanged="Nothing was signed.", hint=hint)
    return key


def _sign(
    context: BackupContext, key: SigningKey, backup_id: str, shared: SharedResults, *, named: bool
) -> bool:
    """Verify and sign one backup; return False if it has a trusted signature already.

    ``shared`` holds the results for objects that several backups share, so that each is read once. ``named``:
    the user has named the backup, so it is signed even if this host does not know it. Raises
    ``IntegrityError`` with the reason if the backup is not signed.
    """
    context.catalog.get(backup_id)  # raises for an unknown id
    document = context.store.read_small(keys.manifest_key(backup_id))
    manifest = context.catalog.parse(document, backup_id)
    digest = hashlib.sha256(document).hexdigest()
    known = context.known_manifests
    verdict = judge_manifest(context.store, context.config.trust, known, manifest, document)
    if verdict.trusted and not verdict.revoked:
        return False
    if not (
        named or verdict.trusted or known.is_unsigned(backup_id, digest) or not context.config.trust.required
    ):
        raise IntegrityError(
            f"{verdict.problem}, and this host has no earlier record of the backup. If you are sure that"
            f" one of your hosts made it, sign it by its id: sign_backups {backup_id}"
        )
    if verdict.foreign:
        raise IntegrityError(f"It is not a backup of this project: {verdict.problem}.")
    if refusal := _refusal(context, key, manifest):
        raise IntegrityError(
            f"The setting TRUSTED does not accept signatures of this host for this backup: {refusal}."
        )
    require_encryption(context.config, context.accept, *manifest.contents())
    # Not verify(), which would read the manifest again: what is verified must be what is signed.
    found = Verifier(context, VerifyRequest(backup_id=backup_id), manifest, shared).run()
    if found.findings:
        raise IntegrityError("; ".join(finding.text for finding in found.findings))
    if found.unread:
        raise IntegrityError(f"Some of its objects could not be read: {'; '.join(found.unread)}")
    store_signature(context.store, key, keys.manifest_key(backup_id), MANIFEST, document)
    known.add(trusted={backup_id: digest})
    return True


def _refusal(context: BackupContext, key: SigningKey, manifest: Manifest) -> str:
    """Return why the setting ``TRUSTED`` would not accept a signature of ``key``; ``""`` if it would."""
    trust = context.config.trust
    if not trust.required:
        return ""
    parts = [part_token(part.kind, part.name) for part in manifest.parts]
    return trust.refusal(key.public, MANIFEST, manifest.host, parts)
