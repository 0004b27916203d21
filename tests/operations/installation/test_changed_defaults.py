"""Changed defaults are named by a check and by the first backup after the upgrade, then never again."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from igny8_backup.operations import deploy_checks
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.installation import changed_defaults
from igny8_backup.operations.installation.changed_defaults import ChangedDefault
from tests.operations.conftest import Notes

pytestmark = pytest.mark.slow

CACHES = ChangedDefault("test-caches", "Caches are backed up.", lambda config: True)
REQUEST = BackupRequest(trees=("sites", "uploads"))


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> None:
    unrelated = ChangedDefault("test-logs", "Logs are backed up.", lambda config: bool(config.logs))
    monkeypatch.setattr(changed_defaults, "CHANGES", (CACHES, unrelated))


def notes(context: BackupContext) -> list[str]:
    return [text for text in cast(Notes, context.progress).texts if "Since this release" in text]


def upgraded(context: BackupContext) -> None:
    """Make the state folder that of a host whose last backup was made by a release without this record."""
    (context.config.state_dir / "changed-defaults.json").unlink()


def test_pending_on_a_host_without_a_backup_is_empty(context: BackupContext, changes: None) -> None:
    run_backup(context, REQUEST)
    assert notes(context) == []
    assert changed_defaults.pending(context.config) == ()


def test_pending_after_another_command_on_a_new_host_is_empty(context: BackupContext, changes: None) -> None:
    """A restore on an empty machine takes a lock before the first backup does."""
    with context.locked("a restore"):
        pass
    assert changed_defaults.pending(context.config) == ()


def test_changed_default_is_named_by_the_first_backup_and_no_other(
    context: BackupContext, changes: None
) -> None:
    run_backup(context, REQUEST)
    upgraded(context)
    (problem,) = deploy_checks.new_defaults(context.config)
    assert problem.id.endswith("W010") and CACHES.text in problem.message
    run_backup(context, REQUEST)
    assert [CACHES.text in text for text in notes(context)] == [True]
    run_backup(context, REQUEST)
    assert len(notes(context)) == 1
    assert deploy_checks.new_defaults(context.config) == []


def test_changed_default_is_named_again_after_a_failed_backup(
    context: BackupContext, changes: None, trees: tuple[Path, Path]
) -> None:
    run_backup(context, REQUEST)
    upgraded(context)
    for root in trees:
        root.rename(root.with_name(f"{root.name}-away"))
    with pytest.raises(Exception, match="No such file"):
        run_backup(context, REQUEST)
    assert changed_defaults.pending(context.config) == (CACHES,)


def test_pending_with_a_damaged_record_names_the_changes(context: BackupContext, changes: None) -> None:
    run_backup(context, REQUEST)
    (context.config.state_dir / "changed-defaults.json").write_bytes(b"\xff")
    assert changed_defaults.pending(context.config) == (CACHES,)


def test_changes_have_ids_of_their_own() -> None:
    ids = [change.id for change in changed_defaults.CHANGES]
    assert len(set(ids)) == len(ids)
