"""Copy backups to the storages in ``COPIES``. A copy that fails does not stop the others."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from igny8_backup.catalog.backups import Entry
from igny8_backup.common.outside import is_from_outside
from igny8_backup.conf import SETTING, CopyTarget
from igny8_backup.errors import BackupError, IntegrityError, RefusedError, UsageError, unexpected
from igny8_backup.operations.backup.request import BackupResult
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.copies.annotations import copy_annotations
from igny8_backup.operations.copies.choose import choose_entries, was_removed, why_not
from igny8_backup.operations.copies.destination import Destination
from igny8_backup.operations.copies.one_backup import copy_backup, renew_signature
from igny8_backup.operations.copies.result import CopiesResult, CopyResult
from igny8_backup.operations.maintain.inventory import Inventory, read_inventory
from igny8_backup.store import MissingObjectError
from igny8_backup.store.objects import SETTING as SETTING_OF_STORAGE

logger = logging.getLogger(__name__)


def choose_copies(context: BackupContext, names: Sequence[str] = ()) -> tuple[CopyTarget, ...]:
    """Return the copies with these ``names`` (or aliases of their storages); if none are given, all copies.

    Raises ``UsageError`` if ``COPIES`` is empty, or if it lacks one of the names.
    """
    copies = context.config.copies
    if not copies:
        raise UsageError(
            f"{SETTING} has no COPIES, so there is nowhere to copy backups.",
            unchanged="Nothing was copied.",
            hint='Set COPIES: see "Keep more than one copy" in the documentation.',
        )
    by_alias = {copy.storage: copy for copy in copies.values()}
    found = [copies.get(name) or by_alias.get(name) for name in names]
    if None in found:
        wrong = names[found.index(None)]
        what = f"{SETTING}['COPIES'] has no copy {wrong!r}. It has {', '.join(sorted(copies))}."
        raise UsageError(what, unchanged="Nothing was copied.", hint="Give one of these names.")
    chosen = [copy for copy in found if copy]
    return tuple(dict.fromkeys(chosen)) if names else tuple(copies.values())


def copy_backups(
    context: BackupContext, targets: Sequence[CopyTarget], *, backup_id: str = "", host: str = ""
) -> CopiesResult:
    """Copy to each of ``targets`` the backups that it lacks, newest first.

    No lock is held while objects are copied. With ``backup_id``, only that backup is copied, even if it was
    removed from a copy before. With ``host``, only backups of that host are copied. Backups that are
    untrusted, suspect or damaged are not copied.

    Raises ``UsageError`` for an unknown id, and ``StorageError`` if the backups cannot be read. An error that
    concerns one of the targets is not raised, but reported in the result for this target.
    """
    inventory = read_inventory(context)
    chosen = {
        target.name: choose_entries(context, inventory, target, backup_id=backup_id, host=host)
        for target in targets
    }
    work = _Work(context, inventory, named=bool(backup_id))
    return CopiesResult(copies=tuple(work.run(target, chosen[target.name]) for target in targets))


def copy_after_run(context: BackupContext, result: BackupResult) -> CopiesResult:
    """Copy the backup that a run has just made, and the earlier backups of this host that a copy lacks.

    Does nothing if ``COPIES`` is empty or if the run made no backup. Errors are reported in the result and
    not raised, because the backup itself is complete.
    """
    if result.manifest is None or not context.config.copies:
        return CopiesResult()
    targets = choose_copies(context)
    try:
        return copy_backups(context, targets, host=context.config.host)
    except Exception as error:
        return CopiesResult(
            copies=tuple(CopyResult(name=one.name, problem=_text(error, one)) for one in targets)
        )


@contextmanager
def open_copy(context: BackupContext, target: CopyTarget, *, brief: bool = False) -> Iterator[BackupContext]:
    """Open a context for the storage of the copy ``target``, with the retention policy of that copy.

    ``brief`` is for the monitor, which stores nothing: if the storage does not answer, give up after seconds,
    not minutes. Raises the errors of :func:`open_context`. Raises ``RefusedError`` if the storage is the same
    as that of ``context``.
    """
    with open_context(
        progress=context.progress,
        writing=not brief,
        storage_alias=target.storage,
        changing=True,
        wait=context.wait,
        clock=context.clock,
        token=context.token,
        brief=brief,
    ) as copy:
        if copy.store.identity() == context.store.identity():
            raise RefusedError(
                f"{copy.store.describe()} is the storage of the backups themselves.",
                unchanged="Nothing was copied.",
                hint=f"Give STORAGES[{target.storage!r}] another location.",
            )
        yield copy


class _Work:
    """Copies backups to one storage after the other. ``named``: the user has named the backup."""

    def __init__(self, context: BackupContext, inventory: Inventory, *, named: bool) -> None:
        self._context = context
        self._inventory = inventory
        self._named = named

    def run(self, target: CopyTarget, entries: Sequence[Entry]) -> CopyResult:
        """Copy ``entries`` to one storage. After an error, the result says what was copied before."""
        copied: list[str] = []
        present: list[str] = []
        left_out: dict[str, str] = {}
        failed: dict[str, str] = {}
        objects = size = 0
        where = problem = ""
        try:
            with open_copy(self._context, target) as copy:
                where = copy.store.describe()
                destination = Destination(copy)
                held = {entry.id: entry for entry in destination.inventory.entries}
                for entry in entries:
                    if entry.id in held:
                        present.append(entry.id)
                        if not entry.has_data_of(held[entry.id]):
                            failed[entry.id] = _OTHER_MANIFEST
                            continue
                        if _lacks_signature(held[entry.id], entry):
                            renew_signature(self._context, copy, entry)
                        self._copy_annotations(destination, entry)
                    elif reason := why_not(self._inventory, entry, target):
                        (failed if self._named else left_out)[entry.id] = reason
                    elif entry.manifest and (
                        self._named or not was_removed(copy, destination.inventory, entry.id)
                    ):
                        try:
                            done = copy_backup(self._context, destination, entry, entry.manifest, target)
                        except (IntegrityError, MissingObjectError, RefusedError) as error:
                            failed[entry.id] = str(error)  # of this backup only: the others are copied
                            continue
                        self._copy_annotations(destination, entry)
                        copied.append(entry.id)
                        objects, size = objects + done.objects, size + done.bytes
        except Exception as error:
            problem = _text(error, target)
        return CopyResult(
            name=target.name,
            where=where,
            copied=tuple(copied),
            objects=objects,
            bytes=size,
            present=tuple(present),
            left_out=left_out,
            failed=failed,
            problem=problem,
        )

    def _copy_annotations(self, destination: Destination, entry: Entry) -> None:
        copy_annotations(self._context, self._inventory, destination.context, destination.inventory, entry)


_OTHER_MANIFEST = (
    "the copy has another manifest under this id. Find out which of the two was altered: verify_backup, with"
    " and without --from-storage."
)


def _lacks_signature(held: Entry, entry: Entry) -> bool:
    """Return whether the copy ``held`` has the manifest of ``entry``, but not its signature."""
    same = held.manifest_sha256 == entry.manifest_sha256
    return same and _is_signed(entry) and not _is_signed(held)


def _is_signed(entry: Entry) -> bool:
    """Return whether the signature of a backup is accepted and its key not revoked, or none is needed."""
    return not (entry.untrusted or (entry.verdict and entry.verdict.revoked))


def _text(error: Exception, target: CopyTarget) -> str:
    """Return the message of an error that ended the work on a copy.

    An error that comes from outside, such as an interrupt, is raised again.
    """
    if is_from_outside(error):
        raise error
    if isinstance(error, BackupError):
        return str(error).replace(SETTING_OF_STORAGE, f'STORAGES["{target.storage}"]')
    logger.exception("Unexpected failure of the copy %s", target.name)
    return str(unexpected(error))
