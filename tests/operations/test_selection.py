"""Selection: which databases and trees a backup or a restore works on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from igny8_backup.catalog.given import Given
from igny8_backup.errors import RefusedError, UsageError
from igny8_backup.formats.manifest import FAILED
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.restore.planning.plan import RestoreRequest
from igny8_backup.operations.restore.planning.planner import plan_restore
from igny8_backup.operations.selection import (
    choose_databases,
    choose_trees,
    missing_part_notes,
    require_none,
    select_parts,
)


def test_choose_databases_and_trees_default_to_all(context: BackupContext) -> None:
    config = replace(context.config, databases=("default", "other"), logs={"logs": context.config.state_dir})
    assert choose_databases(config, ()) == ("default", "other")
    assert choose_databases(config, ("other", "other")) == ("other",)
    assert choose_trees(config, (), logs=False) == ("sites", "uploads")
    assert choose_trees(config, ("uploads",), logs=True) == ("uploads", "logs")
    assert choose_trees(config, ("logs",), logs=False) == ("logs",)


def test_choose_unknown_or_no_names_raises(context: BackupContext) -> None:
    with pytest.raises(UsageError, match="There is no database 'x'. .* Add it to IGNY8_BACKUP first"):
        choose_databases(context.config, ("x",))
    with pytest.raises(UsageError, match="There is no tree 'x'. .* Choose among: sites, uploads"):
        choose_trees(context.config, ("x",), logs=False)
    with pytest.raises(UsageError, match="No tree is configured"):
        choose_trees(replace(context.config, sites={}), (), logs=True)


def test_select_parts_groups_are_limited_to_complete_parts(context: BackupContext) -> None:
    config = replace(context.config, databases=("default",))
    assert select_parts(config, "all", None) == (("default",), ("sites", "uploads"))
    assert select_parts(config, "db", None) == (("default",), ())
    assert select_parts(config, "files", None) == ((), ("sites", "uploads"))
    assert select_parts(config, "default", None) == (("default",), ())
    assert select_parts(config, "uploads", None) == ((), ("uploads",))
    with pytest.raises(UsageError, match="no database or tree 'x'"):
        select_parts(config, "x", None)

    manifest = run_backup(context, BackupRequest(trees=("sites", "uploads"))).manifest
    assert manifest
    sites, uploads = manifest.trees
    given = Given.one(replace(manifest, trees=(sites, replace(uploads, state=FAILED))))
    assert select_parts(config, "all", given) == ((), ("sites",))
    assert [note.split("'")[1] for note in missing_part_notes(config, "all", given)] == [
        "default",
        "uploads",
    ]
    assert len(missing_part_notes(config, "files", given)) == 1
    assert missing_part_notes(config, "uploads", given) == []


def test_require_none_lists_the_blockers() -> None:
    require_none([])
    with pytest.raises(
        RefusedError, match="(?s)cannot be restored here:\n  - One\n  - Two\n.*Fix the problems"
    ):
        require_none(["One", "Two"])


def test_plan_restore_that_chooses_no_part_says_why(context: BackupContext) -> None:
    manifest = run_backup(context, BackupRequest(trees=("sites",))).manifest
    assert manifest
    with pytest.raises(UsageError, match=f"Backup {manifest.id} has no complete copy .* --only db chooses"):
        plan_restore(context, RestoreRequest(backup_id=manifest.id, only="db"))
    without_sites = replace(context, config=replace(context.config, sites={}))
    with pytest.raises(UsageError, match="The settings name no database or tree that --only files chooses"):
        plan_restore(without_sites, RestoreRequest(only="files"))
