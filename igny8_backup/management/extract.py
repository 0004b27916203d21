"""``restore_all`` into a new database or folder: its options, plan and result for people and scripts."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from igny8_backup.errors import UsageError
from igny8_backup.humanize import age_in_words, count_in_words, size_in_words
from igny8_backup.management.base import BackupCommand
from igny8_backup.management.restore.conflicts import DATABASE, FILES, LIVE, require_none_of
from igny8_backup.management.restore.options import given, overrides_from_options
from igny8_backup.operations.context import open_context
from igny8_backup.operations.extract.plan import (
    ExtractPlan,
    ExtractRequest,
    ExtractResult,
    plan_extract,
    run_extract,
)


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--to-database",
        type=given,
        metavar="NAME",
        help="Make a new database of this name on the same server; nothing live is touched.",
    )
    parser.add_argument(
        "--migrate", action="store_true", help="With --to-database: migrate it to the code's schema."
    )
    parser.add_argument(
        "--table",
        type=given,
        action="append",
        default=[],
        metavar="NAME",
        help="With --to-database: this table only; repeat for more.",
    )
    parser.add_argument(
        "--to-dir",
        type=_folder,
        metavar="DIR",
        help="Write the files into a new or empty folder, each tree by its name; nothing live is touched.",
    )
    parser.add_argument(
        "--path",
        type=given,
        action="append",
        default=[],
        metavar="GLOB",
        help="With --to-dir: only what is called so below the root of a tree; repeat for more.",
    )


def _folder(text: str) -> Path:
    return Path(given(text))


def is_asked_for(options: dict[str, Any]) -> bool:
    """Whether any of the options was given."""
    return any(options[name] for name in ("to_database", "to_dir", "path", "table", "migrate"))


def restore(command: BackupCommand, options: dict[str, Any]) -> int:
    """Plans, shows and, but for a dry run, makes what is asked for; returns the exit status."""
    if options["in_place"]:
        raise UsageError(
            "--in-place replaces what is live, and the other options make something new beside it.",
            unchanged="Nothing was changed.",
            hint="Give one or the other.",
        )
    _require_heeded(options)
    request = ExtractRequest(
        backup_id=options["id"] or "",
        only=options["only"],
        identity_file=options["identity"],
        to_database=options["to_database"] or "",
        to_dir=options["to_dir"] and options["to_dir"].absolute(),
        paths=tuple(options["path"]),
        tables=tuple(options["table"]),
        migrate=options["migrate"],
        sanitize=options["sanitize"],
        keep_personal_data=options["keep_personal_data"],
        allow_set_id=options["allow_set_id"],
        changes=overrides_from_options(options),
    )
    alias = options["from_storage"]
    with command.progress() as shown, open_context(progress=shown, storage_alias=alias) as context:
        plan = plan_extract(context, request)
        _show_plan(command, plan)
        if options["dry_run"]:
            command.show_json(_as_json(plan))
        plan.require_feasible()
        if options["dry_run"]:
            command.say("Dry run: nothing was made.")
            return 0
        result = run_extract(context, plan)
    command.show_json(result)
    _show_result(command, result)
    return 0


def _require_heeded(options: dict[str, Any]) -> None:
    names = ("to_database", "to_dir", "table", "path", "migrate")
    beside = "--" + next(name for name in names if options[name]).replace("_", "-")
    require_none_of(options, LIVE, beside=beside, why="nothing live is touched")
    if not (options["to_database"] or options["table"] or options["migrate"]):
        require_none_of(options, DATABASE, beside=beside, why="no database is made")
    if not (options["to_dir"] or options["path"]):
        require_none_of(options, FILES, beside=beside, why="no file is brought back")


def _show_plan(command: BackupCommand, plan: ExtractPlan) -> None:
    command.say("Plan: nothing live is touched")
    for copy in plan.databases:
        age = age_in_words(copy.part.started, plan.created)
        what = f"tables {', '.join(copy.wanted.tables)}" if copy.wanted.tables else "all of it"
        migrated = ", then migrated" if copy.migrate else ""
        migrated += ", then sanitized" if copy.sanitize else ""
        command.say(
            f"  database {copy.part.alias}: {what} from {copy.backup_id} ({age} old) to the new database"
            f" {copy.where}{migrated}"
        )
    for tree in plan.trees:
        age = age_in_words(tree.part.started, plan.created)
        files = count_in_words(tree.chosen.files, "file")
        command.say(
            f"  files {tree.part.name}: {files}, {size_in_words(tree.chosen.size)}, from {tree.backup_id}"
            f" ({age} old) to the new folder {tree.place}"
        )
    for note in plan.notes:
        command.say(f"  NOTE: {note}")


def _show_result(command: BackupCommand, result: ExtractResult) -> None:
    for name in result.databases:
        command.say(f"Made the database {name}. Only its owner may connect.")
    for line in result.left_out:
        command.say(f"  left out: {line}")
    for folder in result.folders:
        command.say(f"Made the folder {folder}. Only this user may open it.")


def _as_json(plan: ExtractPlan) -> dict[str, Any]:
    return {
        "databases": [
            {"backup": copy.backup_id, "part": copy.part, "name": copy.name, "tables": copy.wanted.tables}
            for copy in plan.databases
        ],
        "trees": [
            {
                "backup": tree.backup_id,
                "part": tree.part,
                "folder": str(tree.place),
                "files": tree.chosen.files,
                "bytes": tree.chosen.size,
            }
            for tree in plan.trees
        ],
        "notes": plan.notes,
        "obstacles": plan.blockers,
    }
