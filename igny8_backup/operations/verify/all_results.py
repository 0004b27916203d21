"""The result of the verification of several backups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from igny8_backup.common.humanize import count_in_words
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.notify.alarms import Alarm
from igny8_backup.operations.verify.result import VerifyResult

ALL_BACKUPS = "all backups"
"""``Alarm.part`` of alarms about backups that could not be read or decrypted. Only the verification of all
backups ends them."""
LOST_BACKUPS = "lost backups"
"""``Alarm.part`` of alarms about lost backups. The verification of one backup does not end them."""


@dataclass(frozen=True, kw_only=True)
class AllVerified:
    """The results for several backups, oldest first.

    The other fields have a sentence for each backup of one kind:

    * ``lost``: its manifest is missing or unreadable.
    * ``unopened``: the given identity cannot decrypt it.
    * ``unread``: its manifest could not be read because the storage failed.
    * ``remembered``: this host remembers the backup, but it is gone from storage.

    ``shared`` has a sentence for each damaged object that several backups need.
    """

    results: tuple[VerifyResult, ...]
    lost: tuple[str, ...] = ()
    unopened: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    remembered: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()

    @property
    def damaged(self) -> bool:
        return bool(self.lost) or any(result.findings for result in self.results)

    @property
    def complete(self) -> bool:
        """Whether all backups exist, are undamaged and could be verified, and their results were recorded."""
        failed = any(result.unrecorded or result.unread for result in self.results)
        return not (self.damaged or self.unopened or self.unread or self.remembered or failed)

    @property
    def alarms(self) -> list[Alarm]:
        """An alarm for each backup that is damaged, and for each problem that prevented a verification."""
        found = [Alarm(result.check.id, result.failure) for result in self.results if result.failure]
        found += [Alarm(LOST_BACKUPS, "lost")] * bool(self.lost or self.remembered)
        found += [Alarm(ALL_BACKUPS, "unread")] * bool(self.unread)
        return found + [Alarm(ALL_BACKUPS, "unopened")] * bool(self.unopened)

    def scope(self, *, every: bool, one: bool) -> list[str]:
        """Return the parts (``Alarm.part``) whose alarms end if this verification does not raise them again.

        ``one``: one backup was verified, which the user named. ``every``: every backup was verified. If both
        are false, the newest copies were verified.
        """
        ids = [result.check.id for result in self.results]
        return [*ids, *[ALL_BACKUPS] * every, *[LOST_BACKUPS] * (not one)]

    def problems(self) -> list[str]:
        """Return one line for each damaged object and each backup that could not be verified."""
        lines = [f"LOST: {text}" for text in (*self.lost, *self.remembered)]
        for result in self.results:
            prefix = f"{result.check.id}: " if len(self.results) > 1 else ""
            lines += [f"{prefix}{line}" for line in result.problems()]
        lines += [f"SHARED: {text}" for text in self.shared]
        return [*lines, *(f"UNREAD: {text}" for text in (*self.unopened, *self.unread))]


def shared_damage(context: BackupContext, results: Iterable[VerifyResult]) -> Iterator[str]:
    """Yield a sentence for each damaged object that several backups need. It names these backups."""
    damaged = dict.fromkeys(finding.damage.key for result in results for finding in result.findings)
    manifests = [entry.manifest for entry in context.catalog.entries() if entry.manifest] if damaged else []
    for key in damaged:
        ids = [manifest.id for manifest in manifests if key in manifest.named_keys()]
        if len(ids) > 1:
            yield f"{key} is needed by {count_in_words(len(ids), 'backup')}: {', '.join(ids)}"
