"""The conditions of one database or tree: age, last run, size, objects, verifications, drills, damage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from igny8_backup.catalog.checked import PartCheck
from igny8_backup.chunks.kinds import LONGEST_PERIOD
from igny8_backup.common.humanize import (
    age_in_words,
    count_in_words,
    duration_in_words,
    listed,
    size_in_words,
)
from igny8_backup.conf import Config
from igny8_backup.formats.documents.annotations import DRILLED
from igny8_backup.operations.backup.chunked.unplanned import repeated_text
from igny8_backup.operations.backup.database import LAG
from igny8_backup.operations.backup.trees.parent_index import FULL_RUNS_LIMIT
from igny8_backup.operations.maintain.inventory import Inventory
from igny8_backup.operations.monitor.health import Condition, PartCopy
from igny8_backup.retention.policy import Part
from igny8_backup.standing import MIGRATIONS, SERVER, SIZE, UNTRUSTED, CopyStanding


@dataclass(frozen=True, kw_only=True)
class PartState:
    """A database or tree of an expected host, and what is known about it.

    ``copies`` are its complete copies, newest first, and ``standings`` say which of them can be relied on.
    ``checks`` are the verifications and drills of these copies and of pruned ones. ``objects`` is the number
    of objects that the copies need. ``doubted`` are the keys of those that are missing, altered, or reported
    as damaged by a check that no trusted key signed. ``failing``: its newest backup failed. ``since`` is when
    it was first backed up, as far as the records in storage show.
    """

    part: Part
    copies: tuple[PartCopy, ...]
    standings: tuple[CopyStanding, ...]
    checks: tuple[PartCheck, ...]
    objects: int
    doubted: frozenset[str]
    failing: bool
    since: datetime

    @property
    def newest_fit(self) -> PartCopy | None:
        """The newest copy of the database or tree that can be relied on, if there is one."""
        unfit = {item.backup_id for item in self.standings if not item.fit}
        return next((copy for copy in self.copies if copy.backup_id not in unfit), None)

    def verified(self, limit: timedelta | None) -> datetime | None:
        """Return the start of the newest verification or drill, but ignore checks of outdated copies.

        A copy was outdated if it was neither the newest nor younger than ``limit`` when it was checked.
        """
        return self._newest(self.checks, limit)

    def drilled(self, limit: timedelta | None) -> datetime | None:
        """Return the start of the newest successful drill (practice restore) of a copy that was not outdated.

        A copy was outdated if it was neither the newest nor younger than ``limit`` when it was drilled.
        """
        good = tuple(item for item in self.checks if item.check.depth == DRILLED and item.sound)
        return self._newest(good, limit)

    def _newest(self, checks: Sequence[PartCheck], limit: timedelta | None) -> datetime | None:
        return max((item.check.started for item in checks if self._was_current(item, limit)), default=None)

    def _was_current(self, item: PartCheck, limit: timedelta | None) -> bool:
        """Return whether the copy that ``item`` checked was then the newest, or not older than ``limit``.

        A check of a copy from last year must not hide that later copies have never been checked.
        """
        started = item.check.started
        newest = max((copy.started for copy in self.copies if copy.started <= started), default=item.copied)
        return item.copied >= newest or limit is None or started - item.copied <= limit


def run_conditions(state: PartState, inventory: Inventory, config: Config) -> Iterator[Condition]:
    """Check the age, the newest run, the size and the source of a database or tree.

    Yields nothing if the settings allow any age of its backups.
    """
    part, copies, max_age = state.part, state.copies, config.max_age_of(state.part)
    if max_age is None:
        return
    if not copies:
        yield Condition("age", str(part), False, "there is no complete backup")
        return
    if good := state.newest_fit:
        age = inventory.now - good.as_of
        text = f"{duration_in_words(age, units=2)} old; {duration_in_words(max_age, units=2)} are allowed"
        if good.started - good.as_of > LAG:
            lag = duration_in_words(good.started - good.as_of, units=2)
            text += f"; it was made from a standby whose data was {lag} old"
        yield Condition("age", str(part), age <= max_age, text)
    else:
        yield Condition("age", str(part), False, "there is no backup that can be relied on")
    text = "its newest run failed" if state.failing else "its newest run succeeded"
    yield Condition("complete", str(part), not state.failing, text)
    yield from _full_run_conditions(copies)
    yield from full_dump_conditions(copies, inventory.now, config)
    yield from _newest_copy_conditions(state, config)


def _newest_copy_conditions(state: PartState, config: Config) -> Iterator[Condition]:
    """Check the size, the source and the signature of the newest copy.

    The condition ``source`` fails if a database comes from another server than its earlier copies, or lacks
    migrations that the earlier copies have.
    """
    newest, name = state.copies[0], str(state.part)
    standing = next((item for item in state.standings if item.backup_id == newest.backup_id), None)
    reasons = standing.unfit if standing else ()

    def why(*wanted: str) -> str:
        found = [str(reason) for reason in reasons if (reason.cause or reason.kind) in wanted]
        return f"{newest.backup_id} is {'; '.join(found)}" if found else ""

    shrank, moved, untrusted = why(SIZE), why(SERVER, MIGRATIONS), why(UNTRUSTED)
    yield Condition("size", name, not shrank, shrank or size_in_words(newest.bytes))
    if state.part.kind == "database":
        text = moved or "the newest backup continues the one before it"
        yield Condition("source", name, not moved, text)
    if config.trust.required:
        text = untrusted or "a trusted key signed the newest backup"
        yield Condition("trusted", name, not untrusted, text)


def _full_run_conditions(copies: Sequence[PartCopy]) -> Iterator[Condition]:
    """Check that the newest ``FULL_RUNS_LIMIT`` backups of a tree have not all stored every file again.

    Backups store every file again if ``STATE_DIR`` is lost after each backup, for example in a container.
    """
    part = copies[0].part
    if part.kind != "files" or (len(copies) == 1 and copies[0].full):
        return  # the first backup of a tree is always full, and says nothing about the next one
    # For the same reason the oldest copy is not counted.
    full = sum(1 for _ in takewhile(lambda copy: copy.full, copies[:-1]))
    again = f"the newest {count_in_words(full, 'backup') if full > 1 else 'backup'} stored every file again"
    text = again if full else "the newest backup stored only what had changed"
    yield Condition("incremental", str(part), full < FULL_RUNS_LIMIT, text)


def full_dump_conditions(copies: Sequence[PartCopy], now: datetime, config: Config) -> Iterator[Condition]:
    """Check that dumps in chunks are full when they are due, and not before."""
    if (newest := copies[0].chunked) is None:
        return
    fulls = [copy for copy in copies if copy.chunked and now - copy.started <= config.full_every]
    early = [copy.chunked for copy in fulls if copy.chunked and copy.chunked.reason]
    age = copies[0].started - newest.full_started
    late = age > config.full_every + LONGEST_PERIOD
    text = f"the newest dump is based on a full one from {duration_in_words(age, units=2)} before"
    if late:
        text += f", although FULL_EVERY is {duration_in_words(config.full_every, units=2)}"
    if len(early) > 1:
        text = repeated_text(early[1], early[0].reason)
    yield Condition("full", str(copies[0].part), len(early) < 2 and not late, text)


def check_conditions(state: PartState, inventory: Inventory, config: Config) -> Iterator[Condition]:
    """Check whether a database or tree was verified and drilled recently.

    Without such a check, the time since the first backup of the database or tree is compared with the limit.
    """
    if not state.copies or config.max_age_of(state.part) is None:
        return
    limits = config.limits
    if limits.verified is not None:
        yield _recency(
            "verified", "the newest check", state.verified(limits.verified), limits.verified, state, inventory
        )
    if limits.drilled is not None:
        done = state.drilled(limits.drilled)
        yield _recency("drilled", "the newest successful drill", done, limits.drilled, state, inventory)


def _recency(
    name: str, what: str, newest: datetime | None, limit: timedelta, state: PartState, inventory: Inventory
) -> Condition:
    now = inventory.now
    done = f"{what} was {age_in_words(newest, now)} ago" if newest else "there was none yet"
    text = f"{done}; {duration_in_words(limit, units=2)} are allowed"
    return Condition(name, str(state.part), now - (newest or state.since) <= limit, text)


def object_conditions(state: PartState, inventory: Inventory) -> Iterator[Condition]:
    """Check that storage has all objects of the kept copies, and that no check has found them damaged."""
    if not state.copies:
        return
    part, copies = state.part, f"{len(state.copies)} copies" if len(state.copies) > 1 else "its copy"
    gone = [f"{item.key} ({item.kind})" for item in inventory.absent if item.key in state.doubted]
    there = f"storage has all {state.objects} objects of {copies}"
    text = f"missing or altered: {listed(gone)}" if gone else there
    yield Condition("objects", str(part), not gone, text)
    absent = set(inventory.absent)
    damaged = {
        f"{item.key} ({item.kind}, found by the {item.depth} check of {item.backup_id})": None
        for standing in state.standings
        for item in standing.damage
        if item not in absent
    }
    damaged |= {
        f"{item.key} ({item.kind}, reported by the check {item.depth} of {item.backup_id}, which no trusted"
        " key signed; to check the object, run verify_backup)": None
        for item in inventory.reported
        if item.key in state.doubted
    }
    yield Condition("damage", str(part), not damaged, listed(list(damaged)) or "none was found")
