"""Leave out the entries of an archive that must not take effect during a restore."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from igny8_backup.common.humanize import listed
from igny8_backup.databases.postgresql.restore.archive.labels import unknown_providers
from igny8_backup.databases.postgresql.restore.archive.tables import TableSelection
from igny8_backup.databases.postgresql.restore.archive.toc import Entry, is_event_trigger
from igny8_backup.databases.session import Session
from igny8_backup.errors import RefusedError

_FOREIGN = "FOREIGN TABLE"
_VIEWS = ("VIEW", "MATERIALIZED VIEW")
_STATISTICS = "STATISTICS DATA"
_REFRESH = "MATERIALIZED VIEW DATA"
_NAMED = ("EVENT TRIGGER", "SUBSCRIPTION", "DEFAULT ACL", _REFRESH)


def select_all(entries: Sequence[Entry], reachable: Collection[str]) -> TableSelection:
    """Select the entries to restore, and list the omitted entries that an operator should know of.

    ``reachable`` are the roles for which the restoring role may act. These entries are omitted:

    * statistics, which every restore collects again and which may contain code (CVE-2026-16238);
    * event triggers, which would fire during migrations of the staging database;
    * the contents of materialized views whose queries would contact a foreign server;
    * the schema ``public``, which every new database has, if its owner is not in ``reachable``;
    * default privileges of roles that are not in ``reachable``.

    Subscriptions stay in the selection, but an option of ``pg_restore`` omits them, so they are listed too.
    """
    unfilled = _foreign_refreshes(entries)
    left_out = [
        entry
        for entry in entries
        if entry.number in unfilled
        or entry.kind == _STATISTICS
        or is_event_trigger(entry)
        or (entry.kind == "SCHEMA" and entry.name == "public" and entry.owner not in reachable)
        or (entry.kind == "DEFAULT ACL" and entry.owner not in reachable)
    ]
    numbers = {entry.number for entry in left_out}
    left_out += [entry for entry in entries if entry.kind == "SUBSCRIPTION"]
    return TableSelection(
        entries=tuple(entry for entry in entries if entry.number not in numbers),
        left_out=tuple(entry.label for entry in left_out if entry.kind in _NAMED),
    )


def require_harmless(entries: Sequence[Entry]) -> None:
    """Raise ``RefusedError`` if an entry has SQL that reaches beyond the restored database.

    Callers use this for dumps of backups that no trusted key signed. The message names the entries.
    """
    found = [f"{entry.label} ({', '.join(entry.dangers)})" for entry in entries if entry.dangers]
    if found:
        raise RefusedError(
            "No trusted key signed this backup, and its dump has SQL that reaches beyond the database:"
            f" {listed(found)}.",
            unchanged="Nothing live was changed.",
            hint="Choose another backup: list_backups. If you made this one and trust its storage, sign it:"
            " sign_backups.",
        )


def without_unknown_labels(session: Session, selected: TableSelection) -> TableSelection:
    """Leave out the security labels whose provider the server of ``session`` has not loaded.

    A dump has the labels of tables, functions and so on. It does not have the labels of the database itself.
    """
    named = frozenset[str]().union(*(entry.providers for entry in selected.entries))
    missing = unknown_providers(session, named)
    if not missing:
        return selected
    labels = [
        f"{entry.label} (the server has not loaded {listed(sorted(entry.providers & missing))})"
        for entry in selected.entries
        if entry.providers & missing
    ]
    return replace(
        selected,
        entries=tuple(entry for entry in selected.entries if not entry.providers & missing),
        left_out=(*selected.left_out, *labels),
    )


def unusable_tablespaces(session: Session, entries: Sequence[Entry]) -> tuple[str, ...]:
    """Return labels for the tablespaces of ``entries`` that the current role cannot use on this server.

    Such a tablespace does not exist, or the role lacks the privilege to create objects in it. If the result
    is not empty, callers pass ``--no-tablespaces`` to ``pg_restore``, which then creates all objects in the
    default tablespace.
    """
    query = "SELECT spcname FROM pg_tablespace WHERE has_tablespace_privilege(oid, 'CREATE')"
    usable = {name for (name,) in session.execute(query)}
    named = {entry.tablespace for entry in entries if entry.tablespace}
    return tuple(
        f"TABLESPACE - {name} (objects are in the default tablespace instead)"
        for name in sorted(named - usable)
    )


def _foreign_refreshes(entries: Sequence[Entry]) -> set[int]:
    """Return the numbers of the entries that fill materialized views from foreign tables.

    Some views read a foreign table indirectly: through another view, or through a table that has the foreign
    table as a partition or child.
    """
    tables = {entry.number for entry in entries if entry.kind in ("TABLE", _FOREIGN)}
    reading = {entry.number for entry in entries if entry.kind == _FOREIGN}
    before = 0
    while len(reading) > before:
        before = len(reading)
        for entry in entries:
            if entry.kind in _VIEWS and entry.needs & reading:
                reading.add(entry.number)
            elif entry.number in reading or (entry.kind == "TABLE ATTACH" and entry.needs & reading):
                reading |= entry.needs & tables  # a child needs its parent, which reads the child
    return {entry.number for entry in entries if entry.kind == _REFRESH and entry.needs & reading}
