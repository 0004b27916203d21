"""Check, before a restore, whether the backup could do harm if an attacker has made it.

The result depends on whether a key in the setting ``TRUSTED`` signed the backup, on programs with known
security holes that would read it, and on what the role of the restore may do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from igny8_backup.common.humanize import listed
from igny8_backup.databases.engine import Engine
from igny8_backup.databases.values import VulnerableProgram
from igny8_backup.errors import RefusedError
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.guards.genuine import is_trusted

_RISKY_SETTINGS = {
    "dynamic_library_path",
    "event_triggers",
    "local_preload_libraries",
    "role",
    "row_security",
    "session_preload_libraries",
    "session_replication_role",
    "shared_preload_libraries",
}
"""Settings of a database that load code into its sessions, or switch off its triggers and policies."""


@dataclass(frozen=True, kw_only=True)
class OriginFindings:
    """What the origin of a backup means for the plan of a restore.

    ``blockers`` are reasons that forbid the restore. ``to_confirm`` are programs with known security holes;
    the user must allow their use. ``untrusted``: the settings have ``TRUSTED``, and none of the keys in
    ``TRUSTED`` signed the backup.
    """

    blockers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    to_confirm: tuple[VulnerableProgram, ...] = ()
    untrusted: bool = False

    def with_powers(self, backup_id: str, text: str, *, known: bool) -> OriginFindings:
        """Return a copy of these findings that includes ``text``: what the role of the restore may do.

        The text is a blocker for an untrusted backup. It is a note if nobody knows the origin of the backup,
        and it is left out if the origin is ``known`` (the settings have ``TRUSTED``).
        """
        if self.untrusted:
            return replace(self, blockers=(*self.blockers, _unsafe(backup_id, text)))
        return self if known else replace(self, notes=(*self.notes, text))


def check_origin(
    context: BackupContext,
    engine: Engine,
    manifest: Manifest,
    *,
    in_place: bool = False,
    readers: Sequence[VulnerableProgram] = (),
) -> OriginFindings:
    """Return the blockers, the notes and the programs to confirm for the restore of a database.

    ``in_place``: the contents of the live database itself are replaced. ``readers`` are further programs with
    known security holes that would read the backup. Raises ``DatabaseError``, ``StorageError``.
    """
    programs = dict.fromkeys((*engine.vulnerable_programs(in_place=in_place), *readers))
    powers = engine.role_powers()
    return judge_origin(context, manifest, list(programs), [powers] if powers else [])


def judge_origin(
    context: BackupContext,
    manifest: Manifest,
    programs: Sequence[VulnerableProgram],
    powers: Sequence[str] = (),
) -> OriginFindings:
    """Return what programs with security holes and the rights of a role mean for a restore.

    ``programs`` have known security holes. ``powers`` are sentences about what the SQL of a dump could do
    with the rights of the role that restores it. If a trusted key signed the backup, programs and powers
    become notes. If the settings have ``TRUSTED`` and no trusted key signed the backup, both become blockers.
    Without ``TRUSTED``, nobody knows the origin of the backup: both become notes, and the user must allow the
    use of the programs. Raises ``StorageError``.
    """
    texts = [*(f"{item.text} {item.remedy}" for item in programs), *powers]
    if not context.config.trust.required:
        return OriginFindings(notes=tuple(texts), to_confirm=tuple(programs))
    # Without --accept-unsigned, require_genuine() has passed.
    known = context.known_manifests
    if not context.accept.unsigned or is_trusted(context.config, context.store, known, manifest):
        return OriginFindings(notes=tuple(texts))
    blockers = tuple(_unsafe(manifest.id, text) for text in texts)
    return OriginFindings(blockers=blockers, untrusted=True)


def _unsafe(backup_id: str, text: str) -> str:
    return f"No trusted key signed backup {backup_id}, which makes the following unsafe. {text}"


def without_risky_settings(
    details: DatabaseDetails, origin: OriginFindings
) -> tuple[DatabaseDetails, tuple[str, ...]]:
    """Remove risky settings of the database from ``details`` if the backup is untrusted.

    These are settings that load code into sessions, or switch off triggers and policies. Returns the new
    details, and notes.
    """
    risky = [item for item in details.settings if item.name.lower() in _RISKY_SETTINGS]
    if not (origin.untrusted and risky):
        return details, ()
    names = listed(sorted({item.name for item in risky}))
    kept = tuple(item for item in details.settings if item not in risky)
    note = f"{details.alias}: these database settings are not restored, as no trusted key signed the backup"
    return replace(details, settings=kept), (f"{note}: {names}.",)


def require_safe(findings: OriginFindings, note: Callable[[str], None]) -> None:
    """Raise ``RefusedError`` if there are blockers; otherwise call ``note`` with each note.

    This is for operations that have no plan and change nothing live.
    """
    if findings.blockers:
        raise RefusedError(
            " ".join(findings.blockers),
            unchanged="The backup was not read, and nothing live was changed.",
            hint="Do what is said above and run the command again, or choose another backup: list_backups.",
        )
    for text in findings.notes:
        note(text)
