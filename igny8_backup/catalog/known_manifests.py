"""Remember on this host the manifests that the host made, and the manifests and checks that it trusted.

When a signing key is revoked because somebody else has it, its signatures prove nothing any more: whoever has
the key can sign new backups with old dates. But a manifest that this host knew before the revocation belongs
to a real backup. The memory is a private file in ``STATE_DIR``. It names manifests by their digests, so a
manifest is recognised in every storage and every copy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from igny8_backup.common.filesystem import replace_file
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import records
from igny8_backup.signing.signing_key import SigningKey
from igny8_backup.signing.trust import Trust

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class ManifestMemory:
    """The content of the file in ``STATE_DIR``: SHA-256 digests of manifests and checks.

    ``trusted`` are the digests of manifests that had a trusted signature, by the id of the backup.
    ``unsigned`` are, by the id of the backup, the digests of unsigned manifests that this host made, or found
    when it first listed its storage. ``storages`` are the identities of the storages that it has listed.
    ``checks`` are the digests of the newest trusted check of each backup, by storage, id and depth.
    ``copied`` are the digests of the manifests whose backups this host has copied, by storage and id.
    """

    schema: int
    trusted: dict[str, str] = field(default_factory=dict)
    unsigned: dict[str, str] = field(default_factory=dict)
    storages: tuple[str, ...] = ()
    checks: dict[str, str] = field(default_factory=dict)
    copied: dict[str, str] = field(default_factory=dict)


class KnownManifests:
    """What this host remembers of the manifests and checks in one storage. Reads the file at the first use.

    ``storage`` is the identity of the storage. ``own`` is true if this host's backups are stored there, false
    for a copy or another storage. If the file is missing or damaged, no manifest is remembered.
    """

    def __init__(self, state_dir: Path, storage: str, *, own: bool = True) -> None:
        self._file = state_dir / "known-manifests.json"
        self._storage = storage
        self._own = own
        self._loaded: ManifestMemory | None = None

    def is_trusted(self, backup_id: str, sha256: str) -> bool:
        """Return whether this manifest had a trusted signature when this host saw it before."""
        return self._memory.trusted.get(backup_id) == sha256

    def is_unsigned(self, backup_id: str, sha256: str) -> bool:
        """Return whether this host remembers this manifest as unsigned.

        The host made the manifest, or found it when the host listed its storage for the first time.
        """
        return self._memory.unsigned.get(backup_id) == sha256

    def is_trusted_check(self, backup_id: str, depth: str, sha256: str) -> bool:
        """Return whether this check had a trusted signature when this host read it before."""
        return self._memory.checks.get(self._check_name(backup_id, depth)) == sha256

    def add_checks(self, trusted: Mapping[tuple[str, str], str]) -> None:
        """Remember checks. ``trusted`` maps a backup id and a depth to the SHA-256 of the check."""
        named = {self._check_name(*of): sha256 for of, sha256 in trusted.items()}
        if not named.items() <= self._memory.checks.items():
            current = self._read()
            self._save(replace(current, checks=current.checks | named))

    def is_copied(self, backup_id: str, sha256: str) -> bool:
        """Return whether this host has copied the backup with this manifest to the storage."""
        return self._memory.copied.get(self._name(backup_id)) == sha256

    def add_copied(self, backup_id: str, sha256: str) -> None:
        """Remember that this host has copied a backup to the storage, and compared each of its objects."""
        current = self._read()
        self._save(replace(current, copied=current.copied | {self._name(backup_id): sha256}))

    def _check_name(self, backup_id: str, depth: str) -> str:
        return f"{self._name(backup_id)}/{depth}"

    def _name(self, backup_id: str) -> str:
        return f"{hashlib.sha256(self._storage.encode()).hexdigest()[:16]}/{backup_id}"

    def add(
        self, *, trusted: Mapping[str, str] | None = None, unsigned: Mapping[str, str] | None = None
    ) -> None:
        """Remember manifests: the SHA-256 of each by the id of its backup.

        If the file cannot be written, no error is raised. Backups that are not remembered will be refused if
        their key is revoked.
        """
        self._write(dict(trusted or {}), dict(unsigned or {}), self._memory.storages)

    def add_own(self, backup_id: str, document: bytes, key: SigningKey | None, trust: Trust) -> None:
        """Remember a manifest that this host made; its stored bytes are ``document``.

        ``key`` is the key that signed it, ``None`` without a signature. A manifest signed with a revoked key
        is remembered as unsigned.
        """
        signed = key is not None and key.public not in trust.revoked
        made = {backup_id: hashlib.sha256(document).hexdigest()}
        self.add(**{"trusted" if signed else "unsigned": made})

    def add_listing(self, *, trusted: Mapping[str, str], unsigned: Mapping[str, str]) -> None:
        """Remember the manifests of all backups in the storage.

        The ``unsigned`` manifests are remembered only when this host lists its own storage for the first
        time. Unsigned manifests that appear later, or only in a copy, could have been made by anybody.
        """
        first = self._own and self._storage not in self._memory.storages
        storages = (*self._memory.storages, self._storage) if first else self._memory.storages
        self._write(dict(trusted), dict(unsigned) if first else {}, storages)

    @property
    def _memory(self) -> ManifestMemory:
        if self._loaded is None:
            self._loaded = self._read()
        return self._loaded

    def _read(self) -> ManifestMemory:
        try:
            data = self._file.read_bytes()
            return records.from_json(ManifestMemory, data, name=str(self._file), schema=SCHEMA)
        except FileNotFoundError:
            return ManifestMemory(schema=SCHEMA)
        except (OSError, IntegrityError):
            # The storage counts as listed before: unsigned manifests that are in it now are not remembered.
            return ManifestMemory(schema=SCHEMA, storages=(self._storage,))

    def _write(self, trusted: dict[str, str], unsigned: dict[str, str], storages: tuple[str, ...]) -> None:
        before = self._memory
        if (
            trusted.items() <= before.trusted.items()
            and unsigned.items() <= before.unsigned.items()
            and set(storages) <= set(before.storages)
        ):
            return
        current = self._read()  # another process may have written in the meantime
        self._save(
            replace(
                current,
                trusted=current.trusted | trusted,
                unsigned=current.unsigned | unsigned,
                storages=tuple(dict.fromkeys([*current.storages, *storages])),
            )
        )

    def _save(self, memory: ManifestMemory) -> None:
        self._loaded = memory
        with suppress(OSError):
            replace_file(self._file, records.to_json(self._loaded))
