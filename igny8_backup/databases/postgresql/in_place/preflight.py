"""Find the reasons why a restore into the live database itself would fail, without changing anything.

Each reason is one sentence that includes the remedy.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from igny8_backup.databases.postgresql.clients import find_client, major_of
from igny8_backup.databases.postgresql.connections.connection import Connection
from igny8_backup.databases.postgresql.in_place.locks import lock_blockers
from igny8_backup.databases.postgresql.restore.archive.toc import Entry, read_contents
from igny8_backup.databases.postgresql.restore.preflight import server_blockers
from igny8_backup.databases.postgresql.roles.limits import SESSIONS_IN_DATABASE, session_limits
from igny8_backup.databases.session import Session
from igny8_backup.errors import BackupError
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.streams import Blocks

# The beginning of a sentence, and the query for the names with which the sentence ends.
_BLOCKING_OBJECTS = {
    "Event triggers are enabled in the database and would fire at each command; as a superuser, disable them"
    " until the restore has ended (ALTER EVENT TRIGGER ... DISABLE)": (
        "SELECT evtname FROM pg_event_trigger WHERE evtenabled <> 'D'"
    ),
    "The database has subscriptions, which cannot be dropped in a transaction; drop them first": (
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

    Only the beginning of the dump is read. ``part`` is the entry of the dump in the manifest, ``details`` are
    the recorded properties of the database, ``bin_dir`` is the setting ``CLIENT_BIN_DIR``. ``excluded`` is
    ``EXCLUDE`` of ``DBBACKUP_CONNECTORS``: the tables whose rows are left out of every backup.
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
                f"{belong} to a role whose privileges this role lacks; let a superuser make this role the"
                f" owner (ALTER ... OWNER TO), or restore without --in-place: {listed}."
            )
        may_create = "SELECT has_database_privilege(current_database(), 'CREATE')"
        if session.execute(may_create).fetchone() != (True,):
            found.append(
                "This role may not create schemas in the database: GRANT CREATE ON DATABASE ... TO this role."
            )
        found += lock_blockers(session, entries)
        # The sessions of the application are not counted: it is stopped before.
        limits = session_limits(session, live.name, in_database=SESSIONS_IN_DATABASE)
        found += [limit.text for limit in limits if limit.limit < limit.needed]
    if excluded:
        found.append(
            "DBBACKUP_CONNECTORS excludes tables from backups, so the backup that is made before this restore"
            f" would lack their rows ({', '.join(excluded)}): remove EXCLUDE from that setting for this run."
        )
    return found


def _read_entries(
    session: Session, part: DatabasePart, blocks: Blocks, bin_dir: Path | None
) -> tuple[Entry, ...]:
    """Read the entries of the table of contents from the beginning of the dump ``blocks``.

    Returns no entries if ``pg_restore`` is too old for the dump. The caller reports this case.
    """
    with closing(blocks):
        server_major = major_of(session.server_version_text)
        pg_restore = find_client("pg_restore", server_major=server_major, bin_dir=bin_dir)
        if pg_restore.major < major_of(part.dump_version):
            return ()
        return read_contents(blocks).entries


def _client_blockers(session: Session, bin_dir: Path | None) -> list[str]:
    major = major_of(session.server_version_text)
    try:
        programs = [find_client(name, server_major=major, bin_dir=bin_dir) for name in ("pg_restore", "psql")]
    except BackupError as error:
        return [str(error)]
    return [
        f"{program.path} is version {program.version}, and a newer client may send statements that this"
        f" server does not know: install the client of PostgreSQL {major}, or set"
        " IGNY8_BACKUP['CLIENT_BIN_DIR']."
        for program in programs
        if program.major > major
    ]
