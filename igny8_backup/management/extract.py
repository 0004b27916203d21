"""The options of ``extract_backup``, and its plan and result as text and JSON."""

from __future__ import annotations

from argparse import ArgumentParser, _ArgumentGroup
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from igny8_backup.common.humanize import age_in_words, count_in_words, size_in_words
from igny8_backup.errors import UsageError
from igny8_backup.management.output import labelled
from igny8_backup.management.restore.options import (
    add_assume_space_option,
    add_ignore_space_option,
    add_override_options,
    add_personal_data_options,
    add_set_id_option,
    add_source_options,
    not_empty,
)
from igny8_backup.management.restore.plan_text import space_text
from igny8_backup.operations.extract.archive import ArchiveRequest, ArchiveResult
from igny8_backup.operations.extract.plan import ExtractPlan, ExtractResult


def add_extract_options(parser: ArgumentParser) -> None:
    """Add all options of ``extract_backup``."""
    add_source_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="Show the plan and create nothing.")
    add_personal_data_options(parser)
    add_ignore_space_option(parser)
    database = parser.add_argument_group("into a database")
    text = "Create a database of this name on the server of the live one."
    database.add_argument("--to-database", type=not_empty, metavar="NAME", help=text)
    _add_list(database, "--table", "TABLE", "Extract only this table. Repeat for more.")
    text = "Migrate the new database to the schema of the code."
    database.add_argument("--migrate", action="store_true", help=text)
    text = "Leave out the rows of tables that are in damaged packs. For dumps in chunks only."
    database.add_argument("--skip-damaged", action="store_true", help=text)
    add_override_options(database)
    add_assume_space_option(database)
    text = "Write the dump of one database to this new file, for pg_restore. Nothing else is extracted."
    database.add_argument("--archive", type=_folder, metavar="FILE", help=text)
    files = parser.add_argument_group("into a folder")
    text = "Write each tree into a folder of its name below DIR, which must be new or empty."
    files.add_argument("--to-dir", type=_folder, metavar="DIR", help=text)
    text = "Extract only paths that match, relative to the root of a tree. Repeat for more."
    _add_list(files, "--path", "GLOB", text)
    add_set_id_option(files)


def archive_request(options: dict[str, Any]) -> ArchiveRequest:
    """Return the request for ``--archive``.

    Raises ``UsageError`` if an option was given that cannot be combined with ``--archive``.
    """
    others = (
        "to_database",
        "table",
        "migrate",
        "to_dir",
        "path",
        "allow_set_id",
        "sanitize",
        "dry_run",
        "skip_damaged",
    )
    if wrong := next((name for name in others if options[name]), None):
        option = f"--{wrong.replace('_', '-')}"
        raise UsageError(
            f"{option} cannot be combined with --archive.",
            unchanged="No file was written.",
            hint="Remove one of them.",
        )
    return ArchiveRequest(
        backup_id=options["id"] or "",
        only=options["only"],
        from_host=options["from_host"] or "",
        identity_file=options["identity"],
        archive=options["archive"],
    )


def archive_lines(result: ArchiveResult) -> Iterator[str]:
    """Yield the lines that show the result of ``--archive``."""
    yield from (f"NOTE: {note}" for note in result.notes)
    yield (
        f"Wrote the dump of {result.alias} from {result.backup_id} ({size_in_words(result.bytes)}) to"
        f" {result.archive}. Only this user may read it. It is not encrypted."
    )


def plan_lines(plan: ExtractPlan) -> Iterator[str]:
    """Yield the lines that show the plan of ``extract_backup``."""
    yield "Plan: nothing live is changed"
    for copy in plan.databases:
        age = age_in_words(copy.part.started, plan.created)
        what = f"tables {', '.join(copy.selection.tables)}" if copy.selection.tables else "all of it"
        then = ", then migrated" * copy.migrate + ", then sanitized" * copy.sanitize
        yield (
            f"  database {copy.part.alias}: {what} from {copy.backup_id} ({age} old) to the new database"
            f" {copy.where}{then}"
        )
    for tree in plan.trees:
        age = age_in_words(tree.part.started, plan.created)
        files = count_in_words(tree.chosen.files, "file")
        yield (
            f"  files {tree.part.name}: {files}, {size_in_words(tree.chosen.size)}, from {tree.backup_id}"
            f" ({age} old) to the new folder {tree.folder}"
        )
    yield from (f"  space {space_text(space)}" for space in plan.spaces)
    yield from (f"  {labelled(note)}" for note in plan.notes)


def plan_as_json(plan: ExtractPlan) -> dict[str, Any]:
    """Return the plan for scripts, without private keys and without values that are encrypted in storage."""
    databases = [
        {"backup": copy.backup_id, "part": copy.part, "name": copy.name, "tables": copy.selection.tables}
        for copy in plan.databases
    ]
    trees = []
    for tree in plan.trees:
        shown = {"backup": tree.backup_id, "part": tree.part, "folder": str(tree.folder)}
        trees.append({**shown, "files": tree.chosen.files, "bytes": tree.chosen.size})
    shown = {"databases": databases, "trees": trees, "spaces": plan.spaces}
    return {**shown, "notes": plan.notes, "obstacles": plan.blockers}


def result_lines(result: ExtractResult) -> Iterator[str]:
    """Yield a line for each new database and folder, and for everything that was left out of them."""
    for name in result.databases:
        yield f"Created the database {name}. Only its owner may connect."
    yield from (f"  left out: {line}" for line in result.left_out)
    yield from (f"Created the folder {folder}. Only this user may open it." for folder in result.folders)


def _add_list(group: _ArgumentGroup, name: str, metavar: str, text: str) -> None:
    group.add_argument(name, type=not_empty, action="append", default=[], metavar=metavar, help=text)


def _folder(text: str) -> Path:
    return Path(not_empty(text)).absolute()
