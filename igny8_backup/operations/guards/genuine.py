"""Refuse backups that somebody else may have put into the storage, before their contents are decoded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from igny8_backup.catalog.known_manifests import KnownManifests
from igny8_backup.catalog.signatures import judge_manifest
from igny8_backup.conf import Config
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.manifest_reader import read_manifest
from igny8_backup.formats.objects import StoredObject
from igny8_backup.store import Store


@dataclass(frozen=True)
class Accept:
    """The unsafe backups that an operator accepts for one command, although the settings forbid them.

    ``unencrypted``: backups that are not encrypted although ``RECIPIENTS`` is set. ``unsigned``: backups
    without a signature that the setting ``TRUSTED`` accepts. ``foreign``: backups that were made in another
    environment, with another ``PREFIX``, or on a host that the settings do not name.
    """

    unencrypted: bool = False
    unsigned: bool = False
    foreign: bool = False


def require_encryption(config: Config, accept: Accept, *items: StoredObject) -> None:
    """If ``RECIPIENTS`` is set, check that all of the objects ``items`` are encrypted.

    Without this check, anybody who can write to the storage could replace an encrypted object by an
    unencrypted one, because making one requires no key. Nothing is checked if ``accept.unencrypted`` is set.
    Raises ``IntegrityError``.
    """
    if not config.recipients or accept.unencrypted:
        return
    if plain := next((item for item in items if "age" not in item.codecs), None):
        raise IntegrityError(
            f"{plain.key} is not encrypted, although the settings have RECIPIENTS: whoever may write to the"
            " storage may have put it there.",
            unchanged="It was not read, and nothing live was changed.",
            hint="Choose another backup: list_backups. If it was made before RECIPIENTS was set and you trust"
            " its storage, add --accept-unencrypted.",
        )


def require_genuine(
    config: Config, store: Store, known: KnownManifests, accept: Accept, manifest: Manifest
) -> None:
    """Check that a backup is encrypted and signed as the settings demand, except for what ``accept`` allows.

    Every operation that decodes the contents of a backup calls this first. ``known`` are the manifests that
    this host has recorded as trusted. If ``manifest`` turns out to be trusted, it is added to them. Raises
    ``IntegrityError`` and ``StorageError``.
    """
    require_encryption(config, accept, *manifest.contents())
    if not config.trust.required or accept.unsigned:
        return
    document = store.read_small(keys.manifest_key(manifest.id))
    if read_manifest(document, manifest.id) != manifest.as_stored():
        raise IntegrityError(
            f"The manifest of backup {manifest.id} changed while it was read.",
            unchanged="Nothing live was changed.",
            hint="Find out who writes to the storage, then run the command again.",
        )
    verdict = judge_manifest(store, config.trust, known, manifest, document)
    if verdict.foreign:
        if accept.foreign:
            return
        raise IntegrityError(
            f"Backup {manifest.id} is not a backup of this project: {verdict.problem}. Whoever may write to"
            " the storage may have copied it there.",
            unchanged="It was not read, and nothing live was changed.",
            hint="Choose another backup: list_backups. If you mean this one, give its id and"
            " --accept-foreign.",
        )
    if not verdict.trusted:
        raise IntegrityError(
            f"Backup {manifest.id} is not trusted: {verdict.problem}. Whoever may write to the storage may"
            " have put it there.",
            unchanged="It was not read, and nothing live was changed.",
            hint="Choose another backup: list_backups. If it was made before backups were signed, adopt it:"
            " sign_backups. To read this one all the same, add --accept-unsigned.",
        )
    known.add(trusted={manifest.id: hashlib.sha256(document).hexdigest()})


def is_trusted(config: Config, store: Store, known: KnownManifests, manifest: Manifest) -> bool:
    """Return whether the stored manifest still equals ``manifest``, and a key in ``TRUSTED`` signed it.

    ``known`` are the manifests that this host has recorded as trusted. Raises ``StorageError``.
    """
    document = store.read_small(keys.manifest_key(manifest.id))
    same = read_manifest(document, manifest.id) == manifest.as_stored()
    return same and judge_manifest(store, config.trust, known, manifest, document).trusted
