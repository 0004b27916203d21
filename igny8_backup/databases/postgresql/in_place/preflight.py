"""Find the reasons why a restore into the live database itself would fail, without changing anything.

Each reason is one sentence that includes the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from igny8_backup.databases.postgresql.clients import find_client, major_of
from igny8_backup.databases.postgresql.connection import Connection
from igny8_backup.databases.postgresql.restore.archive_toc import Entry, read_contents
from igny8_backup.databases.postgresql.restore.preflight import server_blockers
from igny8_backup.databases.session import Session
from igny8_backup.errors import BackupError
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import DatabasePart
from igny8_backup.streams import Blocks

# The beginning of a sentence, and the query for the names with which the sentence ends.
_BLOCKING_OBJECTS = {
    "Event triggers are enabled in the database and would fire at each command; as a superuser, disable them"
    " (ALTER EVENT TRIGGER ... DISABLE)": "SELECT evtname FROM pg_event_trigger WHERE evtenabled <> 'D'",
    "The database has subscriptions, which cannot be dropped in a transaction; drop them before": (
        "SELECT subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid"
        " WHERE d.datname = current_database()"
    ),
}

# The objects that this role cannot drop because it lacks the privileges of their owner.
_OWNED_BY_OTHERS = """
    SELECT kind, string_agg(name::text, ', ' ORDER BY name) FROM (
      SELECT 'The database belongs' AS kind, pg_get_userbyid(datdba) AS name, datdba AS owner
        FROM pg_database WHERE datname = current_database()
      UNION SELECT 'Schemas belong', nspname, nspowner FROM pg_namespace
        WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
      UNION SELECT 'Extensions belong', extname, extowner FROM pg_extension
        WHERE oid >= 16384 AND extname <> 'plpgsql'
      UNION SELECT 'Publications belong', pubname, pubowner FROM pg_publication
      UNION SELECT 'Large objects belong', pg_get_userbyid(lomowner), lomowner FROM pg_largeobject_metadata
    ) AS objects WHERE NOT pg_has_role(owner, 'USAGE') GROUP BY kind ORDER BY kind"""

# Every object that is dropped is locked until the transaction ends. The server's lock table has space for
# max_locks_per_transaction locks for each possible connection (PostgreSQL docs, Lock Management).
_LOCKS_TO_DROP = """
    SELECT (SELECT count(DISTINCT (classid, objid)) FROM pg_depend WHERE objid >= 16384)
         + (SELECT count(*) FROM pg_largeobject_metadata)"""
_LOCK_TABLE = """
    SELECT current_setting('max_locks_per_transaction')::bigint
           * (current_setting('max_connections')::bigint
              + current_setting('max_prepared_transactions')::bigint),
           (SELECT count(*) FROM pg_locks)"""
# The number of objects that belong to each extension.
_MEMBERS = """
    SELECT extname, (SELECT count(*) FROM pg_depend d WHERE d.refclassid = 'pg_extension'::regclass
                     AND d.refobjid = e.oid AND d.deptype = 'e')
    FROM pg_extension e"""
_MEMBERS_IF_UNKNOWN = 500  # more than any extension that comes with PostgreSQL has; isn has most, 463
# Creating a relation locks it. Servers with the minor releases of 2026 also lock every object to which a new
# object refers, such as types, functions, operators and constraints, so that no other session drops it
# (dependencyLockAndCheckObject in PostgreSQL's dependency.c). Two kinds of entries need the most locks: a
# table without rows (the table, its row type, its TOAST table and the index of that table), and a
# materialized view, whose two entries need ten locks because it is built again when it is refreshed.
_LOCKS_OF_AN_ENTRY = 5
_OTHER_LOCKS = 300  # for the server's catalogs and for sessions that start later
_EXTENSION = "EXTENSION - "
_LARGE_OBJECTS = re.compile(r"BLOB (?:METADATA )?- (\d+)(?:\.\.(\d+))?")
_LARGE_OBJECTS_OF_AN_ENTRY = 1000  # at most: MAX_BLOBS_PER_ARCHIVE_ENTRY of pg_dump


def find_in_place_blockers(
    live: Connection,
    part: DatabasePart,
    details: DatabaseDetails,
    blocks: Blocks,
    *,
    excluded: Sequence[str],
    bin_dir: Path | None,
) -> list[str]:
    """Return the reasons why the dump ``blocks`` cannot replace the contents of ``live``.

    Only the beginning of the dump is read. ``excluded`` is ``EXCLUDE`` of ``DBBACKUP_CONNECTORS``: the tables
    whose rows are left out of every backup.
    """
    with live.open() as session:
        entries = _read_entries(session, part, blocks, bin_dir)
        found = server_blockers(session, live, part, details, bin_dir)
        found += _client_blockers(session, bin_dir)
        for text, query in _BLOCKING_OBJECTS.items():
            if names := sorted(name for (name,) in session.execute(query)):
                found.append(f"{text}: {', '.join(names)}.")
        for belong, listed in session.execute(_OWNED_BY_OTHERS):
            found.append(
                f"{belong} to a role whose privileges this role lacks; restore as a superuser: {listed}."
            )
        may_create = "SELECT has_database_privilege(current_database(), 'CREATE')"
        if session.execute(may_create).fetchone() != (True,):
            found.append(
                "This role may not create schemas in the database: GRANT CREATE ON DATABASE ... TO this role."
            )
        found += _lock_blockers(session, entries)
    if excluded:
        found.append(
            "DBBACKUP_CONNECTORS excludes rows from backups, so the backup before the restore would lack them"
            f" ({', '.join(excluded)}): remove EXCLUDE from it for this run."
        )
    return found


def _read_entries(
    session: Session, part: DatabasePart, blocks: Blocks, bin_dir: Path | None
) -> tuple[Entry, ...]:
    """Read the entries of the table of contents from the beginning of the dump ``blocks``.

    Return no entries if ``pg_restore`` is too old for the dump, which the caller reports.
    """
    with closing(blocks):
        server_major = major_of(session.server_version_text)
        pg_restore = find_client("pg_restore", server_major=server_major, bin_dir=bin_dir)
        if pg_restore.major < major_of(part.dump_version):
            return ()
        return read_contents(blocks, pg_restore.path)[1]


def locks_needed(session: Session, entries: Sequence[Entry]) -> int:
    """Return an upper limit of the number of locks that the transaction of a restore holds at its end.

    The transaction locks the objects that it drops and those that it creates from ``entries``.
    """
    (dropped,) = session.execute(_LOCKS_TO_DROP).fetchone() or (0,)
    members: dict[str, int] = dict(session.execute(_MEMBERS).fetchall())
    created = sum(
        _LOCKS_OF_AN_ENTRY + _large_objects(entry) + _extension_members(entry, members) for entry in entries
    )
    return int(dropped) + created + _OTHER_LOCKS


def _extension_members(entry: Entry, members: dict[str, int]) -> int:
    """Return the number of objects that belong to the extension of ``entry``; 0 for other kinds of entries.

    A dump has one entry for an extension with all its objects. ``members`` has the numbers for the
    extensions of the live database, which usually has the same extensions.
    """
    if not entry.label.startswith(_EXTENSION):
        return 0
    return members.get(entry.label.removeprefix(_EXTENSION).strip(), _MEMBERS_IF_UNKNOWN)


def _large_objects(entry: Entry) -> int:
    match = _LARGE_OBJECTS.match(entry.label)
    if match is None:
        return 0
    first, last = int(match[1]), int(match[2] or match[1])
    return min(last - first + 1, _LARGE_OBJECTS_OF_AN_ENTRY)


def _lock_blockers(session: Session, entries: Sequence[Entry]) -> list[str]:
    needed = locks_needed(session, entries)
    available, used = session.execute(_LOCK_TABLE).fetchone() or (0, 0)
    if needed + used <= available:
        return []
    return [
        f"The transaction would need {needed} locks, one or more for each table, index, large object and so"
        f" on, but the server's lock table holds {available}: raise max_locks_per_transaction and restart the"
        " server, or restore without --in-place, with a role that may create databases."
    ]


def _client_blockers(session: Session, bin_dir: Path | None) -> list[str]:
    major = major_of(session.server_version_text)
    try:
        programs = [find_client(name, server_major=major, bin_dir=bin_dir) for name in ("pg_restore", "psql")]
    except BackupError as error:
        return [str(error)]
    return [
        f"{program.path} is version {program.version}: this server may not know what a newer client writes."
        f" Install the client of PostgreSQL {major}, or set IGNY8_BACKUP['CLIENT_BIN_DIR']."
        for program in programs
        if program.major > major
    ]
