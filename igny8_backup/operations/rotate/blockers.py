"""Find the reasons why backups cannot get other recipients."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property

from igny8_backup.catalog.backups import Entry
from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.formats import keys
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.documents import why_unsigned
from igny8_backup.operations.maintain.pruning.locked import locked_objects
from igny8_backup.operations.rotate.journal import open_journal
from igny8_backup.signing.trust import MANIFEST, part_token
from igny8_backup.store import MissingObjectError
from igny8_backup.streams.age import Identity, opens


class Blockers:
    """Finds out why groups of backups cannot get other recipients. ``entries`` are all backups."""

    def __init__(
        self, context: BackupContext, identities: Sequence[Identity], entries: Sequence[Entry]
    ) -> None:
        self._context, self._identities = context, identities
        self._unreadable = [entry.id for entry in entries if entry.manifest is None]

    def find(self, members: Sequence[Entry]) -> str:
        """Return the first reason why a group of backups cannot be rotated, as a clause; else ``""``.

        Raises ``IdentityError`` if the signing key cannot be used, and ``StorageError``.
        """
        reasons = (
            f"{reason}{f' (backup {entry.id}, which shares packs with it)' * (len(members) > 1)}"
            for entry in members
            if entry.manifest
            for reason in self._reasons(entry, entry.manifest)
        )
        return next(reasons, "") or self._of_group([entry.manifest for entry in members if entry.manifest])

    def _reasons(self, entry: Entry, manifest: Manifest) -> Iterator[str]:
        if manifest.left_out:
            yield "this copy holds only some parts of it. Rotate the original, then copy it again"
        if entry.untrusted:
            yield f"it is not trusted: {entry.untrusted}"
        if plain := next((item.key for item in manifest.contents() if "age" not in item.codecs), ""):
            yield f"{plain} is not encrypted"
        parts = [part_token(part.kind, part.name) for part in manifest.parts]
        if reason := why_unsigned(self._context, MANIFEST, manifest.host, parts):
            yield f"TRUSTED would not accept the new manifest: {reason}"
        for part in manifest.parts:
            if part.packs_problem:
                yield part.packs_problem.removesuffix(".")
        if stray := self._stray_signature(entry, manifest):
            yield (
                f"its folder has the signature of another manifest, {stray}. If rotate_recipients was"
                " interrupted on another machine, run it again there. Else find out who replaced the"
                " manifest, then delete the signature"
            )
        if reason := self._closed(manifest):
            yield reason

    def _of_group(self, manifests: Sequence[Manifest]) -> str:
        shared = {key for manifest in manifests for key in manifest.named_keys()}
        if self._unreadable and any(key.startswith(keys.PACKS) for key in shared):
            return f"backup {self._unreadable[0]}, whose manifest cannot be read, may need the same packs"
        if alive := self._alive_hosts.intersection(manifest.host for manifest in manifests):
            return f"a backup of host {min(alive)} is running, and it may use the same packs"
        locked = locked_objects(
            self._context, sorted(shared.union(keys.manifest_key(manifest.id) for manifest in manifests))
        )
        if locked:
            until = max(item.until for item in locked)
            return f"{locked[0].key} and maybe others are locked, the last until {until:%Y-%m-%d %H:%M} UTC"
        return ""

    @cached_property
    def _alive_hosts(self) -> frozenset[str]:
        now = self._context.clock()
        return frozenset(run.host for run in self._context.catalog.runs() if run.is_alive(now))

    @cached_property
    def _own_documents(self) -> dict[str, bytes]:
        """By key, the manifests that an interrupted rotation of this host has stored or begun to store."""
        return open_journal(self._context, ()).documents

    def _stray_signature(self, entry: Entry, manifest: Manifest) -> str:
        """Return the key of a signature that does not belong to the stored manifest; else ``""``.

        Signatures that an interrupted rotation of this host has left are not returned.
        """
        key = keys.manifest_key(entry.id)
        known, document = [entry.manifest_sha256[:32]], self._own_documents.get(key)
        if document:
            own = hashlib.sha256(document).hexdigest()
            replaced = manifest.replaces if own == entry.manifest_sha256 else ()
            known += [digest[:32] for digest in (own, *replaced)]
        folder = f"{keys.backup_folder(entry.id)}signatures/{MANIFEST}-"
        names = (item.key for item in self._context.store.list(folder.rpartition("/")[0]))
        found = (name for name in names if name.startswith(folder) and not any(one in name for one in known))
        return next(found, "")

    def _closed(self, manifest: Manifest) -> str:
        key = manifest.details.key
        try:
            if opens(self._context.store.open(key), self._identities):
                return ""
            return "the identity does not open it"
        except MissingObjectError:
            return f"{key} is missing"
        except IntegrityError as error:
            return f"{key}: {error.what.removesuffix('.')}"
        except StorageError:
            return f"{key} cannot be read"
