"""Copies: the commands print what the page shows, with a real backup."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.docs.output import as_on_the_page, commands_shown, skeleton
from tests.docs.pages import blocks, page
from tests.management.commands import run_many
from tests.management.conftest import BackedUp


def test_copy_backups_and_its_copy_show_what_the_page_shows(backed_up: BackedUp) -> None:
    project = backed_up.project
    offsite = project.folder / "offsite"
    offsite.mkdir()
    ((copying, copied),) = commands_shown(blocks(page("how-to/more-copies"), "console")[0])
    ((verifying, verified),) = commands_shown(blocks(page("how-to/more-copies"), "console")[1])
    from_copy: list[str | Path] = ["--from-storage", "offsite"]
    dry: list[str | Path] = ["restore_all", *from_copy, "--dry-run", "--identity", project.identity]
    made, checked, again, listed, shown, pruned, plan = run_many(
        project,
        copying,
        verifying,
        ["copy_backups", "--json", "--to", "offsite"],
        ["list_backups", *from_copy, "--json"],
        ["show_backup", *from_copy, backed_up.id],
        ["prune_backups", *from_copy, "--dry-run"],
        [*dry, "--json"],
        env={"IGNY8_BACKUP_OFFSITE": str(offsite)},
    )
    shutil.rmtree(offsite)
    printed = as_on_the_page(made.ended(0).output, project)
    assert skeleton(printed) == skeleton(copied), printed
    printed = as_on_the_page(checked.ended(0).output, project)
    assert skeleton(printed) == skeleton(verified), printed
    (copy,) = again.ended(0).json["copies"]
    assert (copy["name"], copy["copied"], copy["present"]) == ("offsite", [], [backed_up.id])
    assert [item["id"] for item in listed.ended(0).json] == [backed_up.id]
    assert f"Backup {backed_up.id}" in shown.ended(0).stdout
    assert "0 backups would be removed." in pruned.ended(0).stdout
    assert [database["backup"] for database in plan.json["databases"]] == [backed_up.id], plan.output


def test_copy_that_fails_ends_with_status_3_and_is_named(backed_up: BackedUp) -> None:
    missing = backed_up.project.folder / "not-mounted"
    unknown, failed, none = (
        run_many(backed_up.project, argv, env={"IGNY8_BACKUP_OFFSITE": str(missing)})[0]
        for argv in (["copy_backups", "--to", "moon"], ["copy_backups"], ["copy_backups", "nosuch"])
    )
    assert "has no copy 'moon'. It has offsite." in unknown.ended(2).stderr
    assert f"NOT COPIED to offsite: The folder {missing} does not exist" in failed.ended(3).stderr
    assert "There is no backup 'nosuch'" in none.ended(2).stderr
