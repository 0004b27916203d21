"""Extract a backup, or part of it, into a new database or folder. Nothing live is changed.

The entry points are :func:`plan_extract` and :func:`run_extract`. An extraction needs no journal, because a
new database or folder gets its name only when it is complete. It takes no lock, so backups can run meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from igny8_backup.databases.values import VulnerableProgram
from igny8_backup.errors import UsageError, adding_context
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.extract.database import DatabaseCopy, create_copy, plan_copy
from igny8_backup.operations.extract.path_filter import parse_pattern
from igny8_backup.operations.extract.tree import TreeCopy, choose_files, require_new_folder, write_tree
from igny8_backup.operations.history.select_copies import read_given, select_copies
from igny8_backup.operations.read.details import read_details
from igny8_backup.operations.read.tree_packs import TreePacks
from igny8_backup.operations.restore.planning.plan import Space
from igny8_backup.operations.restore.planning.preflight import check_objects
from igny8_backup.operations.restore.planning.space import (
    IF_WRONG,
    copy_space,
    folder_space,
    refused_space,
    space_blockers,
    tree_bytes,
)
from igny8_backup.operations.selection import ALL, DB, FILES, BasePlan, BaseRequest, select_parts
from igny8_backup.operations.staging.live_state import unchanged_live
from igny8_backup.operations.staging.origin import check_origin, without_risky_settings
from igny8_backup.operations.staging.overrides import RestoreOverrides
from igny8_backup.operations.staging.project_code import sanitize


@dataclass(frozen=True, kw_only=True)
class ExtractRequest(BaseRequest):
    """A request to extract a database, trees, or both.

    ``to_database`` is the name of a new database, ``to_dir`` a new or empty folder; at least one is needed.
    ``tables`` and ``paths`` (patterns) limit what is extracted. ``migrate``: run the project's migrations in
    the new database. ``skip_damaged``: leave out unreadable rows. All other fields: see ``RestoreRequest``.
    """

    to_database: str = ""
    to_dir: Path | None = None
    paths: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    migrate: bool = False
    sanitize: bool = False
    skip_damaged: bool = False
    allow_set_id: bool = False
    assume_space: int | None = None
    ignore_space: bool = False
    overrides: RestoreOverrides = RestoreOverrides()


@dataclass(frozen=True, kw_only=True)
class ExtractPlan(BasePlan):
    """The databases and folders that an extraction will create, and the space for the databases."""

    databases: tuple[DatabaseCopy, ...]
    trees: tuple[TreeCopy, ...]
    spaces: tuple[Space, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ExtractResult:
    """The databases and folders that an extraction has created.

    ``left_out`` describes the objects of the dump that were not restored, as ``pg_restore`` lists them.
    ``warnings`` are sentences about helper steps that failed.
    """

    databases: tuple[str, ...]
    folders: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@adding_context("Nothing was changed.")
def plan_extract(context: BackupContext, request: ExtractRequest) -> ExtractPlan:
    """Plan an extraction; create nothing. Reads manifests, details and, if ``paths`` are given, file lists.

    Raises the errors of :func:`~igny8_backup.operations.restore.planning.planner.plan_restore`;
    ``UsageError`` if the request contradicts itself; ``RefusedError`` or ``UsageError`` if the target exists
    already.
    """
    _check(request)
    given = read_given(context, request.backup_id, from_host=request.from_host)
    aliases, names = select_parts(context.config, _only(request), given)
    aliases = aliases if request.to_database else ()
    names = names if request.to_dir else ()
    _check_parts(request, aliases, names)
    selected = select_copies(context, given, databases=aliases, trees=names, from_host=request.from_host)
    manifests = [manifest for manifest, _ in (*selected.databases, *selected.trees)]
    for manifest in manifests:
        context.require_genuine(manifest)
    identities = context.identities(request.identity_file, needed=any(one.encrypted for one in manifests))
    notes, blockers = list(selected.notes), list[str]()
    databases, trees, objects = [], [], []
    spaces, vulnerable = list[Space](), list[VulnerableProgram]()
    for manifest, part in selected.databases:
        origin = check_origin(context, context.engine(part.alias), manifest)
        details = read_details(context, manifest, identities).database(part.alias)
        details, origin_notes = without_risky_settings(details, origin)
        copy, copy_notes, copy_blockers = plan_copy(
            context,
            manifest.id,
            part,
            details,
            name=request.to_database,
            tables=request.tables,
            migrate=request.migrate,
            sanitized=request.sanitize,
            overrides=request.overrides,
            skip_damaged=request.skip_damaged,
        )
        vulnerable += origin.to_confirm
        databases.append(copy.untrusted() if origin.untrusted else copy)
        notes += [*copy_notes, *origin_notes, *origin.notes]
        blockers += [*copy_blockers, *origin.blockers]
        spaces += _copy_space(context, request, copy)
        objects += [*part.archives] if request.skip_damaged else [*part.archives, *part.stored_packs]
    short = [] if request.ignore_space else space_blockers(spaces)
    if request.to_dir:
        require_new_folder(context.config, request.to_dir)
        patterns = [parse_pattern(text) for text in request.paths]
        for manifest, tree in selected.trees:
            chosen = choose_files(context, tree, patterns, identities)
            if chosen.found:
                objects += TreePacks(context, tree.name, tree.stored_packs, identities).objects(chosen.packs)
                to = request.to_dir / tree.name
                trees.append(TreeCopy(manifest.id, tree, chosen, to, request.allow_set_id))
        short += [] if request.ignore_space else _space_blockers(request.to_dir, trees)
        if not trees:
            raise _contradiction(
                f"No path in {', '.join(names)} matches {', '.join(request.paths)}.",
                "Give paths relative to the root of a tree: --path example.com, or --path '*/images/*.png'.",
            )
    blockers += [f"{text} {IF_WRONG}" for text in short]
    notes += check_objects(context, objects)
    blockers += sanitize.blockers(
        context.config, manifests, aliases, sanitize=request.sanitize, keep=request.keep_personal_data
    )
    notes += [sanitize.FILES_NOTE] if request.sanitize and trees else []
    return ExtractPlan(
        created=context.clock(),
        databases=tuple(databases),
        trees=tuple(trees),
        spaces=tuple(spaces),
        notes=tuple(dict.fromkeys(notes)),
        blockers=tuple(blockers),
        identities=tuple(identities),
        vulnerable=tuple(vulnerable),
    )


def _copy_space(context: BackupContext, request: ExtractRequest, copy: DatabaseCopy) -> list[Space]:
    """Return the space that a new database needs; on the server, only if all tables are extracted."""
    config = context.config
    assumed = config.assume_space if request.assume_space is None else request.assume_space
    needed = 0 if copy.selection.tables else copy.details.size
    return copy_space(copy.part.alias, place=copy.where, needed=needed, assumed=assumed)


def _space_blockers(folder: Path, trees: list[TreeCopy]) -> list[str]:
    """Return reasons against the extraction if the chosen files of ``trees`` do not fit into ``folder``."""
    # The space of the whole tree is an upper limit for its chosen files.
    needed = sum(min(copy.chosen.size, tree_bytes(copy.part)) for copy in trees)
    inodes = sum(copy.chosen.files for copy in trees)
    names = [copy.part.name for copy in trees]
    spaces = [folder_space(names, folder, needed=needed, inodes=inodes)]
    return space_blockers(spaces) + refused_space([(", ".join(names), folder, needed)], spaces)


def run_extract(context: BackupContext, plan: ExtractPlan) -> ExtractResult:
    """Create the databases and folders of the plan, one after the other.

    If a database or folder cannot be completed, it is removed and the error is raised. Complete ones stay.
    """
    plan.require_feasible()
    identities = list(plan.identities)
    with unchanged_live(context, [copy.part.alias for copy in plan.databases]):
        left_out = [text for copy in plan.databases for text in create_copy(context, copy, identities)]
    for tree in plan.trees:
        context.progress.begin(f"files {tree.part.name}", tree.chosen.size)
        try:
            write_tree(context, tree, identities, context.progress.advance)
        finally:
            context.progress.end()
    return ExtractResult(
        databases=tuple(copy.name for copy in plan.databases),
        folders=tuple(str(tree.folder) for tree in plan.trees),
        left_out=tuple(left_out),
        warnings=context.shortfalls.take_texts(),
    )


def _check(request: ExtractRequest) -> None:
    """Raise :class:`UsageError` if options are missing, or cannot be combined."""
    if not (request.to_database or request.to_dir):
        raise _contradiction(
            "extract_backup needs a place to write to.", "Give --to-database NAME, --to-dir DIR, or both."
        )
    complete = {"--migrate": request.migrate, "--sanitize": request.sanitize}
    database = {
        "--table": request.tables,
        **complete,
        "--no-owner": not request.overrides.owners,
        "--locale": request.overrides.locale,
        "--assume-space": request.assume_space,
        "--skip-damaged": request.skip_damaged,
    }
    files = {"--path": request.paths, "--allow-set-id": request.allow_set_id}
    for target, options in (
        ("" if request.to_database else "--to-database NAME", database),
        ("" if request.to_dir else "--to-dir DIR", files),
    ):
        for option, given in options.items():
            if target and given:
                raise _contradiction(f"{option} needs {target}.", f"Add {target}, or remove {option}.")
    for option, given in complete.items():
        if given and request.tables:
            raise _contradiction(
                f"{option} works on a complete database and cannot be combined with --table.",
                "Remove one of them.",
            )


def _only(request: ExtractRequest) -> str:
    if request.only != ALL or (request.to_database and request.to_dir):
        return request.only
    return DB if request.to_database else FILES


def _check_parts(request: ExtractRequest, aliases: tuple[str, ...], names: tuple[str, ...]) -> None:
    if request.to_database and len(aliases) != 1:
        chosen = f"{', '.join(aliases)} are chosen" if aliases else f"--only {request.only} chooses none"
        raise _contradiction(f"--to-database takes exactly one database, but {chosen}.", "Give --only ALIAS.")
    if request.to_dir and not names:
        raise _contradiction(
            f"--to-dir takes trees of files, but --only {request.only} chooses none.", "Give --only files."
        )


def _contradiction(what: str, hint: str) -> UsageError:
    return UsageError(what, unchanged="Nothing was created.", hint=hint)
