"""The conditions of one copy in ``COPIES``: reachable, recent, complete, undamaged."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from igny8_backup.common.clock_skew import is_ahead
from igny8_backup.common.humanize import count_in_words, duration_in_words, listed
from igny8_backup.conf import CopyTarget
from igny8_backup.errors import BackupError
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.copies.choose import choose_entries, was_removed, why_not
from igny8_backup.operations.copies.run import open_copy
from igny8_backup.operations.maintain.inventory import Inventory, read_inventory
from igny8_backup.operations.monitor.health import Condition
from igny8_backup.retention.policy import Part

LATE = timedelta(days=1)
"""Younger backups that a copy lacks are not reported: they are perhaps just being copied."""


def copy_conditions(context: BackupContext, inventory: Inventory | None) -> Iterator[Condition]:
    """Yield the conditions of all copies.

    ``inventory`` describes the original storage. If that storage cannot be read, ``inventory`` is ``None``,
    and the condition ``uncopied`` is left out. A copy that cannot be read is a failed condition, not an
    error.
    """
    for target in context.config.copies.values():
        try:
            with open_copy(context, target, brief=True) as copy:
                found = list(_conditions(context, inventory, target, copy))
        except BackupError as error:
            found = [Condition("copy", target.name, False, str(error))]
        yield from found


def _conditions(
    context: BackupContext, inventory: Inventory | None, target: CopyTarget, copy: BackupContext
) -> Iterator[Condition]:
    there = read_inventory(copy)
    count = len(there.entries)
    text = f"{count_in_words(count, 'backup')} in {copy.store.describe()}"
    yield Condition("copy", target.name, count > 0, text)
    parts = _parts(there) | (_parts(inventory) if inventory else set())
    for part in sorted(part for part in parts if target.holds(part.kind, part.name)):
        yield from _age_condition(part, target, copy, there)
    if inventory:
        lacking = list(_lacking(context, inventory, target, copy, there))
        text = f"not copied: {listed(lacking)}" if lacking else "it has every backup that it should have"
        yield Condition("uncopied", target.name, not lacking, text)
    bad = sorted(there.standings.damaged_keys) + [f"the manifest of {run.id}" for run in there.lost]
    bad += [f"the manifest of {entry.id}" for entry in there.entries if entry.manifest is None]
    text = f"missing or damaged: {listed(bad)}" if bad else "no object is missing, and no damage was found"
    yield Condition("intact", target.name, not bad, text)


def _parts(inventory: Inventory) -> set[Part]:
    """Return each database and tree of an expected host, if ``inventory`` has a complete copy of it."""
    copies = inventory.standings.copies
    return {copy.part for copy in copies if copy.part.host in inventory.hosts.expected}


def _age_condition(
    part: Part, target: CopyTarget, copy: BackupContext, there: Inventory
) -> Iterator[Condition]:
    """Check the age of the newest good backup of ``part`` in the copy ``target``.

    Yields nothing if the settings allow any age. ``there`` is the inventory of the copy.
    """
    max_age = copy.config.max_age_of(part)
    if max_age is None:
        return
    newest, name = there.standings.newest_fit(part), f"{part} in {target.name}"
    if newest is None:
        yield Condition("copied", name, False, "the copy has no backup of it that can be relied on")
        return
    age = there.now - newest.started
    text = f"{duration_in_words(age, units=2)} old; {duration_in_words(max_age, units=2)} are allowed"
    yield Condition("copied", name, age <= max_age, text)


def _lacking(
    context: BackupContext, inventory: Inventory, target: CopyTarget, copy: BackupContext, there: Inventory
) -> Iterator[str]:
    """Yield the ids of the backups that the copy ``target`` should have but lacks, newest first.

    Three kinds of backups are left out: those younger than ``LATE``, those that must not be copied, and those
    that somebody removed from the copy on purpose.
    """
    # Another manifest under the id, or one without its signature, is not the backup.
    held = {entry.id: entry for entry in there.entries if not entry.untrusted}
    for entry in choose_entries(context, inventory, target):
        late = entry.started < inventory.now - LATE and not is_ahead(entry.started, inventory.now)
        there_too = entry.id in held and entry.has_data_of(held[entry.id])
        if there_too or not late or why_not(inventory, entry, target):
            continue
        if not was_removed(copy, there, entry.id):
            yield entry.id
