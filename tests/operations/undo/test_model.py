"""A model of restores, undos, redos and discards: following the printed advice never loses the only copy.

The database is a real SQLite file and the tree is a real folder. Only the staging copies are written by the
test itself instead of being read from a backup.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from igny8_backup.databases.names import PREVIOUS, STAGING
from igny8_backup.databases.sqlite import SqliteEngine
from igny8_backup.errors import BackupError, RefusedError, UsageError
from igny8_backup.formats import keys
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.journal import DONE, PREPARING, SCHEMA, UNDONE, DatabaseSwap, Journal, TreeSwap
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.restore import tree as restore_tree
from igny8_backup.operations.restore.swaps import swap_all
from igny8_backup.operations.undo.copies import is_discardable
from igny8_backup.operations.undo.discard import discard, plan_discard
from igny8_backup.operations.undo.history import DISCARD, Step, advice, choose
from igny8_backup.operations.undo.plan import UndoPlan, plan_undo
from igny8_backup.operations.undo.run import undo
from igny8_backup.trees.swap.target import SwapTarget
from tests.databases.stage import configured

pytestmark = pytest.mark.slow

BEGIN = datetime(2026, 11, 22, tzinfo=UTC)


class Site:
    """A database file and a folder, each with a content that is one word, or absent."""

    def __init__(self, context: BackupContext, folder: Path) -> None:
        self.database, self.root = folder / "db.sqlite3", folder / "root"
        self.root.mkdir()
        self.engine = SqliteEngine("lite", scratch=folder)
        self.time = BEGIN
        config = replace(
            context.config,
            state_dir=folder / "state",
            databases=("lite",),
            before_restore=(),
            after_restore=(),
        )
        self.context = replace(context, config=config, clock=lambda: self.time)
        self.context._engines["lite"] = self.engine

    def write(self, database: Path, tree: Path, word: str) -> None:
        with closing(sqlite3.connect(database, isolation_level=None)) as session:
            session.execute("CREATE TABLE word AS SELECT ? AS word", [word])
        (tree / "page").write_text(word)
        (tree / f"only in {word}").write_text(word)

    def restore(self, word: str, parts: str) -> Journal:
        """Replace the database, the tree, or both by a copy that holds ``word``."""
        self.time += timedelta(minutes=1)
        stamp = keys.stamp(self.time)
        staging, previous = (self.engine.derived_name(name, stamp) for name in (STAGING, PREVIOUS))
        target = SwapTarget(root=self.root, stamp=stamp)
        target.make()
        self.write(Path(staging), target.new_tree, word)
        database = DatabaseSwap(
            alias="lite",
            name=str(self.database),
            staging=staging,
            previous=previous,
            existed=self.database.exists(),
            details=DatabaseDetails(alias="lite", name="db", tables=()),
        )
        tree = TreeSwap(name="root", root=str(self.root), previous=str(target.previous))
        tree = replace(tree, plan=target.plan(None, lambda *_: None))
        journal = Journal(
            schema=SCHEMA,
            stamp=stamp,
            phase=PREPARING,
            started=self.time,
            backup_ids=(word,),
            databases=(database,) if "d" in parts else (),
            trees=(tree,) if "t" in parts else (),
        )
        if "d" not in parts:
            Path(staging).unlink()
        if "t" not in parts:
            restore_tree.remove_staging_tree(target)
        return swap_all(self.context, self.context.journals.in_turn(journal, self.time))

    def live(self) -> tuple[str, str]:
        """Return the words that are live in the database and in the tree; empty where nothing is."""
        page = self.root / "page"
        return _word(self.database), page.read_text() if page.exists() else ""

    def copies(self) -> dict[str, set[str]]:
        """Return all words that exist anywhere, live or kept, of the database and of the tree."""
        databases = {_word(path) for path in self.database.parent.glob("db.sqlite3*")} - {""}
        pages = {path.read_text() for path in self.root.glob("**/page")}
        return {"database": databases, "tree": pages}


def _word(path: Path) -> str:
    if not path.exists():
        return ""
    with closing(sqlite3.connect(path, isolation_level=None)) as session:
        ((word,),) = session.execute("SELECT word FROM word").fetchall()
    return str(word)


class Restores(RuleBasedStateMachine):
    """Any sequence of restores and commands; ``history`` is a stack of what each restore has replaced."""

    folder: Path
    context: BackupContext

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        place = Path(self.stack.enter_context(tempfile.TemporaryDirectory(dir=self.folder)))
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": place / "db.sqlite3"}
        self.stack.enter_context(configured("lite", database))
        self.site = Site(self.context, place)
        self.number = 0
        self.advised: list[Step] = []

    def teardown(self) -> None:
        self.stack.close()

    def _journals(self) -> list[Journal]:
        return self.site.context.journals.all()

    def _advise(self, journal: Journal) -> None:
        fine = is_discardable(self.site.context, journal)
        self.advised = advice(self._journals(), journal, discardable=fine)
        for step in self.advised:
            if step.action != DISCARD:
                assert choose(self._journals(), step.journal.stamp) == step, "the advice is refused"

    @rule(parts=st.sampled_from(["d", "t", "dt"]))
    def restore(self, parts: str) -> None:
        self.number += 1
        before = self.site.copies()
        journal = self.site.restore(f"word{self.number}", parts)
        for kind, words in before.items():
            assert words <= self.site.copies()[kind], "a restore deletes nothing"
        self._advise(journal)

    @rule(data=st.data())
    def follow_advice(self, data: st.DataObject) -> None:
        if self.advised:
            step = data.draw(st.sampled_from(self.advised))
            if step.action == DISCARD:
                self._discard([step.journal.stamp])
            else:
                self._swap(step.journal.stamp)

    @rule()
    def undo_without_stamp(self) -> None:
        self._swap("")

    @rule(data=st.data())
    def undo_some_restore(self, data: st.DataObject) -> None:
        if journals := self._journals():
            self._swap(data.draw(st.sampled_from([item.stamp for item in journals])))

    @rule()
    def discard_all(self) -> None:
        self._discard([])

    @rule(data=st.data())
    def discard_some_restore(self, data: st.DataObject) -> None:
        if journals := self._journals():
            self._discard([data.draw(st.sampled_from([item.stamp for item in journals]))])

    @rule()
    def lose_the_live_database(self) -> None:
        """Somebody drops it by hand, while another copy exists."""
        if len(self.site.copies()["database"]) > 1:
            self.site.database.unlink(missing_ok=True)
            self.advised = []

    def _swap(self, stamp: str) -> None:
        self.site.time += timedelta(minutes=1)
        live, copies = self.site.live(), self.site.copies()
        try:
            plan = plan_undo(self.site.context, stamp)
        except UsageError as error:
            assert error.parts[2]
            assert (self.site.live(), self.site.copies()) == (live, copies)
            return
        result = undo(self.site.context, plan=plan)
        assert self.site.copies() == copies, "an undo or redo loses nothing"
        gone = {item.place for item in plan.vanishing}
        for place, before, now in zip(
            (str(self.site.database), str(self.site.root)), live, self.site.live(), strict=True
        ):
            if before and not now:
                assert place in gone, "what vanishes is announced"
            if place in gone:
                assert before and not now
        assert result.journal.phase in (DONE, UNDONE)
        self._advise(result.journal)
        # The second in a row brings back what the first replaced.
        if plan_again := self._planned():
            assert plan_again.journal.stamp == result.journal.stamp

    def _planned(self) -> UndoPlan | None:
        try:
            return plan_undo(self.site.context)
        except BackupError:  # somebody dropped the database that was replaced
            return None

    def _discard(self, stamps: list[str]) -> None:
        live, copies = self.site.live(), self.site.copies()
        try:
            shown = plan_discard(self.site.context, stamps)
            discard(self.site.context, shown)
        except RefusedError as error:
            assert "only copy" in str(error) and "Nothing was deleted" in str(error)
            assert (self.site.live(), self.site.copies()) == (live, copies)
            return
        except UsageError:
            assert not self._journals()
            return
        assert self.site.live() == live, "a discard changes nothing live"
        for kind, words in self.site.copies().items():
            assert words or not copies[kind], "the only copy was deleted"
        assert not shown.blockers
        self.advised = []

    @invariant()
    def something_exists(self) -> None:
        copies = self.site.copies()
        restored = self._journals()
        if self.number and any(item.databases for item in restored):
            assert copies["database"]


@pytest.fixture
def machine(context: BackupContext, tmp_path: Path) -> Iterator[type[Restores]]:
    class Prepared(Restores):
        pass

    # In memory: every step writes its journal through to the disk.
    memory = Path("/dev/shm")
    Prepared.context, Prepared.folder = context, memory if os.access(memory, os.W_OK) else tmp_path
    yield Prepared


def test_undo_following_the_advice_never_loses_the_only_copy(machine: type[Restores]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_advice_after_an_undo_names_no_restore_that_lies_under_another_one(machine: type[Restores]) -> None:
    made = machine()
    try:
        for parts in ("dt", "t", "d"):
            made.restore(parts=parts)
        made.undo_without_stamp()  # the first one also replaced the tree, which the second one replaced again
        assert made.advised
    finally:
        made.teardown()
