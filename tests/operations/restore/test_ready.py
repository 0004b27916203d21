"""A restore that is ready and waits for the other hosts of a fleet does what was decided."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.catalog.fleet_restores import write
from igny8_backup.errors import RefusedError, UnfinishedError
from igny8_backup.formats.documents.fleet_restore import (
    CANCELLED,
    DECIDED,
    GRACE,
    PLANNING,
    PREPARING,
    RESTORE,
    SCHEMA,
    SWAPPING,
    FleetRestore,
)
from igny8_backup.journal import DONE, READY, Journal
from igny8_backup.management.backup_text import restore_line
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.restore.planning.plan import RestoreRequest
from igny8_backup.operations.restore.run import RestoreSession
from igny8_backup.operations.undo.run import undo

ID = "20261122T174258Z-51c0de"
OLD, NEW = "as it is now\n", "as it was\n"


def record(context: BackupContext, phase: str, **changes: Any) -> FleetRestore:
    now = context.clock()
    made = FleetRestore(
        schema=SCHEMA,
        id=ID,
        action=RESTORE,
        fleet="20261122T021500Z-7f3a9c",
        host="db-1",
        environment="test",
        started=now,
        heartbeat=now,
        decide_before=now + timedelta(hours=1),
        phase=phase,
    )
    return replace(made, **changes)


def decide(context: BackupContext, phase: str, **changes: Any) -> None:
    write(context.store, context.config.trust, None, record(context, phase, **changes))


@pytest.fixture
def ready(context: BackupContext, trees: tuple[Path, Path]) -> Journal:
    """The journal of a restore whose process ended while it waited for the decision."""
    assert run_backup(context, BackupRequest(trees=("sites", "uploads"))).complete
    for page in pages(trees):
        page.write_text(f"{page.parent.name} {page.parent.parent.name} {OLD}")

    def stop(journal: Journal) -> Journal:
        context.journals.write(replace(journal, fleet=ID), READY)
        raise UnfinishedError("The process was stopped.")

    session = RestoreSession(context)
    with pytest.raises(UnfinishedError):
        session.execute(session.plan(RestoreRequest(only="files")), before_swap=stop)
    (journal,) = context.journals.all()
    assert journal.phase == READY
    assert kept(trees) == 2 and contents(trees) == {OLD}
    return journal


def pages(trees: tuple[Path, Path]) -> list[Path]:
    return [page for root in trees for page in sorted(root.glob("[!.]*/page"))]


def contents(trees: tuple[Path, Path]) -> set[str]:
    return {page.read_text().split(" ", 2)[2] for page in pages(trees)}


def kept(trees: tuple[Path, Path]) -> int:
    """Return the number of staging folders."""
    return sum(1 for root in trees for _ in root.glob(".igny8_backup-side-*"))


@pytest.mark.parametrize("phase", sorted(DECIDED))
def test_ready_restore_that_was_decided_is_completed(
    context: BackupContext, trees: tuple[Path, Path], ready: Journal, phase: str
) -> None:
    decide(context, phase, decide_before=context.clock() - timedelta(days=1))
    with pytest.raises(RefusedError, match="must complete its restore first"):
        undo(context)
    result = RestoreSession(context).settle()
    assert result and result.resumed and result.journal.phase == DONE
    assert contents(trees) == {NEW} and kept(trees) == 0
    undo(context)
    assert contents(trees) == {OLD}


@pytest.mark.parametrize("case", ["missing", "cancelled", "expired"])
@pytest.mark.parametrize("by_undo", [False, True])
def test_ready_restore_without_decision_is_removed(
    context: BackupContext, trees: tuple[Path, Path], ready: Journal, case: str, by_undo: bool
) -> None:
    if case == "cancelled":
        decide(context, CANCELLED)
    elif case == "expired":
        decide(context, PREPARING, decide_before=context.clock() - GRACE)
    if by_undo:
        undo(context)
    else:
        assert RestoreSession(context).settle() is None
    assert context.journals.all() == []
    assert contents(trees) == {OLD} and kept(trees) == 0


@pytest.mark.parametrize("phase", [PLANNING, PREPARING])
def test_ready_restore_that_may_still_be_decided_waits(
    context: BackupContext, trees: tuple[Path, Path], ready: Journal, phase: str
) -> None:
    decide(context, phase, decide_before=context.clock() - GRACE + timedelta(seconds=30))
    for step in (RestoreSession(context).settle, lambda: undo(context)):
        with pytest.raises(
            RefusedError, match=f"until all hosts of the fleet restore {ID} are ready"
        ) as caught:
            step()
        assert "Nothing was changed." in str(caught.value)
    assert context.journals.all() == [ready]
    assert ID in restore_line(ready, [ready])


def test_decision_without_trusted_signature_is_no_decision(
    context: BackupContext, trees: tuple[Path, Path], ready: Journal, host: Any
) -> None:
    decide(context, SWAPPING)
    with (
        host("web-1", trusts=["web-1"]) as trusting,
        pytest.raises(RefusedError, match="is not trusted: it is not signed"),
    ):
        RestoreSession(trusting).settle()
    assert contents(trees) == {OLD} and kept(trees) == 2
    with host("web-1", trusts=["web-1"]) as trusting:
        signed = record(context, SWAPPING)
        write(trusting.store, trusting.config.trust, trusting.load_signing_key(), signed)
        assert RestoreSession(trusting).settle()
    assert contents(trees) == {NEW}
