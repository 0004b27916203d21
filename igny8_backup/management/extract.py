"""The plan and the result of ``extract_backup``, as lines for people and as JSON for scripts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from igny8_backup.humanize import age_in_words, count_in_words, size_in_words
from igny8_backup.operations.extract.plan import ExtractPlan, ExtractResult


def plan_lines(plan: ExtractPlan) -> Iterator[str]:
    """Yield the plan, line by line."""
    yield "Plan: nothing live is changed"
    for copy in plan.databases:
        age = age_in_words(copy.part.started, plan.created)
        what = f"tables {', '.join(copy.wanted.tables)}" if copy.wanted.tables else "all of it"
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
            f" ({age} old) to the new folder {tree.place}"
        )
    for note in plan.notes:
        yield f"  NOTE: {note}"


def plan_as_json(plan: ExtractPlan) -> dict[str, Any]:
    """Return the plan for scripts, without identities and details."""
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


def result_lines(result: ExtractResult) -> Iterator[str]:
    """Yield what was created and what is missing from it, line by line."""
    for name in result.databases:
        yield f"Created the database {name}. Only its owner may connect."
    for line in result.left_out:
        yield f"  left out: {line}"
    for folder in result.folders:
        yield f"Created the folder {folder}. Only this user may open it."
