"""The plan of ``restore_all``, as lines for people and as JSON for scripts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from igny8_backup.common.humanize import count_in_words, duration_in_words, old_in_words, size_in_words
from igny8_backup.databases.values import TargetState
from igny8_backup.management.output import labelled
from igny8_backup.operations.restore.planning.plan import (
    DATABASES,
    FILES,
    DatabasePlan,
    RestorePlan,
    Source,
    Space,
    TreePlan,
)

_TREE_FIELDS = ("part", "empty", "seconds_after_database", "excluded_files", "excluded_bytes")


def plan_lines(plan: RestorePlan) -> Iterator[str]:
    """Yield the lines that show the plan of ``restore_all``."""
    yield "Plan"
    yield f"  this machine: host {plan.host}, environment {plan.environment}"
    yield from (_source(source, plan) for source in plan.sources)
    for database in plan.databases:
        yield _database(database)
        yield from (f"    {line}" for line in _target_state(database))
    yield from map(_tree, plan.trees)
    yield from (f"  space {space_text(space)}" for space in plan.spaces)
    yield f"  workers: {_workers(plan)}"
    yield from (f"  {labelled(note)}" for note in plan.notes)


def plan_as_json(plan: RestorePlan) -> dict[str, Any]:
    """Return the plan for scripts, without private keys and without values that are encrypted in storage."""
    databases, trees = [], []
    for item in plan.databases:
        shown = {name: getattr(item, name) for name in ("part", "same_server", "target")}
        shown |= {name: getattr(item.details, name) for name in ("size", "server", "system_identifier")}
        databases.append({**shown, "backup": item.backup_id, "surroundings": item.target_state})
    for tree in plan.trees:
        shown = {name: getattr(tree, name) for name in _TREE_FIELDS}
        trees.append({**shown, "backup": tree.backup_id, "root": str(tree.root)})
    names = ("created", "host", "environment", "sources", "replaces", "spaces", "workers", "notes")
    shown = {name: getattr(plan, name) for name in names}
    return {**shown, "databases": databases, "trees": trees, "obstacles": plan.blockers}


def _source(source: Source, plan: RestorePlan) -> str:
    label = f", labelled {source.label}" if source.label else ""
    same = "the same" if source.secret_key_equal else "DIFFERENT"
    return (
        f"  backup {source.id}: {old_in_words(source.started, plan.created)}, from host {source.host},"
        f" environment {source.environment}{label}; its SECRET_KEY is {same}"
    )


def _database(item: DatabasePlan) -> str:
    target = item.target
    if not target.exists:
        now = "which does not exist"
    elif target.tables is None:
        now = f"which cannot be read, {size_in_words(target.size)}, and is REPLACED"
    else:
        fate = "" if target.empty else ", and is REPLACED"
        now = f"which holds {count_in_words(target.tables, 'table')}, {size_in_words(target.size)}{fate}"
    return (
        f"  database {item.part.alias}: from {item.backup_id} ({size_in_words(item.details.size)}"
        f"{_standby(item)}) to {target.where}, {now}"
    )


def _standby(item: DatabasePlan) -> str:
    """Return a text with the time of the data if the database was dumped from a standby, else ``""``."""
    moment = item.part.data_time
    return f", data of {moment:%Y-%m-%d %H:%M:%S} UTC, from a standby" if moment else ""


def _target_state(item: DatabasePlan) -> Iterator[str]:
    found, details = item.target_state, item.details
    if not found.server:
        return
    here = f"PostgreSQL {found.server_version} at {found.server}{_identifier(found.system_identifier)}"
    if item.same_server:
        yield f"server: {here}, the server of the backup"
    else:
        then = details.server or "an unknown server"
        yield (
            f"server: {here}; the backup is from PostgreSQL {item.part.server_version}"
            f" at {then}{_identifier(details.system_identifier)}"
        )
    for tool in found.tools:
        present = f"{tool.present} at {tool.path}" if tool.present else "MISSING"
        yield f"{tool.program}: {present}; {tool.needed} or newer is needed"
    if found.roles:
        yield f"roles: {', '.join(f'{one.name}{_missing(one.exists)}' for one in found.roles)}"
    if found.extensions:
        listed = (f"{one.name} {one.version} (here {one.available or 'MISSING'})" for one in found.extensions)
        yield f"extensions: {', '.join(listed)}"
    yield f"connected: {_sessions(found)}"
    subscriptions = (f"{one.name}{' (enabled)' if one.enabled else ''}" for one in found.subscriptions)
    for what, names in (
        ("replication slots", found.replication_slots),
        ("prepared transactions", found.prepared_transactions),
        ("subscriptions", tuple(subscriptions)),
    ):
        if names:
            yield f"{what}: {', '.join(names)}"


def _sessions(found: TargetState) -> str:
    listed = (
        f"{count_in_words(one.count, 'session')} of {one.application or 'an unnamed program'} as {one.role}"
        f" from {'a hidden address' if one.address == 'hidden' else one.address}"
        for one in found.sessions
    )
    return "; ".join(listed) or "nobody"


def _tree(item: TreePlan) -> str:
    fate = "" if item.empty else ", whose files are REPLACED"
    return (
        f"  files {item.part.name}: from {item.backup_id} ({count_in_words(item.part.files, 'file')},"
        f" {size_in_words(item.part.bytes)}{_distance(item.seconds_after_database)}) to {item.root}{fate}"
    )


def _distance(seconds: int | None) -> str:
    if seconds is None:
        return ""
    when = "after" if seconds >= 0 else "BEFORE"
    return f", read {duration_in_words(timedelta(seconds=abs(seconds)), units=2)} {when} the database"


_SPACE = {FILES: "the files of", DATABASES: "a second copy of"}


def space_text(space: Space) -> str:
    """Return the space that is needed in one place, and what is free there."""
    server = "the volume of " if space.kind == DATABASES else ""
    what = f"for {_SPACE[space.kind]} {', '.join(space.names)} on {server}{space.place}"
    what = f"{what}: {size_in_words(space.needed)} needed"
    if space.free is None:
        unknown = "the free space is not visible over SQL, so it is not checked"
        return f"{what}; {unknown} (--assume-space SIZE states it)"
    free = f"{size_in_words(space.free)} {'assumed to be ' if space.assumed else ''}free"
    return f"{what}, {free}"


def _workers(plan: RestorePlan) -> str:
    workers = plan.workers
    if workers.others and workers.unasked:
        return ", ".join(workers.others)
    if workers.unasked or workers.doubt:
        return f"unknown: {workers.doubt or workers.unasked}"
    waiting = f"{count_in_words(workers.waiting, 'task')} in the queues"
    return f"{', '.join(workers.names) or 'none answers'} on {workers.broker}; {waiting}"


def _identifier(number: str) -> str:
    return f" (system {number})" if number else ""


def _missing(exists: bool) -> str:
    return "" if exists else " (MISSING)"
