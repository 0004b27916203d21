"""Choose the tables whose rows leave a dump in archives of their own, so that several sessions dump them.

The rows of some tables are checked or computed by functions while they are restored, and such a function may
read other tables. These tables stay in the main archive, which a restore loads after the data archives.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain

from igny8_backup.databases.dump_streams import Placement
from igny8_backup.databases.names import table_name
from igny8_backup.databases.postgresql.encodings import as_argument
from igny8_backup.databases.postgresql.roles.limits import BESIDE_DUMP, possible_jobs
from igny8_backup.databases.session import Session
from igny8_backup.formats.details import DatabaseDetails

MOST_TABLES = 200
"""At most this many tables are placed: their names are arguments of ``pg_dump``."""

ARCHIVES_EACH = 2
"""The number of archives of a dump for each one that is read at the same time.

The largest table is often alone in its archive. While it is dumped or restored, the other archives follow one
another beside it."""

LEFT_FREE = 3
"""The number of sessions that must stay free for others if archives are to wait until they are read."""

# The ordinary tables with rows, partitions among them. Tables of extensions stay in the main archive, because
# pg_dump may dump only some of their rows (pg_extension_config_dump). A role cannot lock a table that it may
# not read; pg_dump of the main archive reports such a table. "reached" has what calls functions of users:
# operators, operator classes (of range types), constraints, generated columns and types, and the tables with
# these or partitioned by these.
# System objects have OIDs below 16384 (FirstNormalObjectId).
_TABLES = """
    WITH RECURSIVE reached (classid, objid) AS (
      (SELECT 'pg_proc'::regclass::oid, p.oid FROM pg_proc p WHERE p.oid >= 16384
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass
                        AND e.objid = p.oid AND e.deptype = 'e')
      UNION
      SELECT 'pg_opclass'::regclass::oid, o.oid FROM pg_opclass o WHERE o.oid >= 16384
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_opclass'::regclass
                        AND e.objid = o.oid AND e.deptype = 'e'))
      UNION
      SELECT step.classid, step.objid FROM reached r, LATERAL (
        SELECT d.classid, d.objid FROM pg_depend d WHERE d.refclassid = r.classid AND d.refobjid = r.objid
          AND d.classid IN ('pg_operator'::regclass, 'pg_constraint'::regclass, 'pg_attrdef'::regclass,
                            'pg_type'::regclass, 'pg_class'::regclass)
        UNION ALL
        SELECT 'pg_type'::regclass, c.reltype FROM pg_class c
        WHERE r.classid = 'pg_class'::regclass AND c.oid = r.objid AND c.reltype <> 0
        UNION ALL
        SELECT 'pg_type'::regclass, c.contypid FROM pg_constraint c
        WHERE r.classid = 'pg_constraint'::regclass AND c.oid = r.objid AND c.contypid <> 0
        UNION ALL
        SELECT 'pg_class'::regclass, c.conrelid FROM pg_constraint c
        WHERE r.classid = 'pg_constraint'::regclass AND c.oid = r.objid AND c.contype = 'c'
          AND c.conrelid <> 0
        UNION ALL
        SELECT 'pg_class'::regclass, f.adrelid FROM pg_attrdef f JOIN pg_attribute a
          ON a.attrelid = f.adrelid AND a.attnum = f.adnum AND a.attgenerated <> ''
        WHERE r.classid = 'pg_attrdef'::regclass AND f.oid = r.objid
      ) step)
    SELECT n.nspname, c.relname, pg_table_size(c.oid) FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                      AND d.objid = c.oid AND d.deptype = 'e')
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass
                      AND d.objid = n.oid AND d.deptype = 'e')
      AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
      AND NOT EXISTS (SELECT FROM reached r WHERE r.classid = 'pg_class'::regclass AND r.objid = c.oid)
    ORDER BY 3 DESC, 1, 2"""


def archives_of(jobs: int) -> int:
    """Return how many archives a dump has if ``jobs`` of them are read at the same time."""
    return jobs * ARCHIVES_EACH if jobs > 1 else 1


def possible_archives(session: Session, jobs: int, earlier: Placement | None) -> int:
    """Return how many archives a dump can have, of which up to ``jobs`` are read at the same time.

    If ``earlier`` is not ``None``, the archives should be those of an earlier dump. ``session`` is closed
    before the dump begins.
    """
    possible = possible_jobs(session, jobs, beside=BESIDE_DUMP)
    # The server ends a connection whose data nobody reads for this time, such as that of a waiting archive.
    (timeout,) = session.execute("SELECT current_setting('tcp_user_timeout')").fetchone() or ("0",)
    if timeout != "0":
        return possible
    wanted = archives_of(jobs) if earlier is None else 1 + len(earlier)
    return max(min(possible, wanted), possible_jobs(session, wanted, beside=BESIDE_DUMP + LEFT_FREE))


def place_tables(
    session: Session, excluded: Collection[str], archives: int, earlier: Placement | None = None
) -> Placement:
    """Choose the tables of the data archives of a dump that has at most ``archives``, with the main one.

    The rows of the tables ``excluded`` are not dumped. All other tables are in the main archive. If
    ``earlier`` is not ``None``, the tables that still exist are placed as there, and new ones are in the main
    archive, too.
    """
    found = [
        (table_name(schema, table), size)
        for schema, table, size in session.execute(_TABLES)
        if table_name(schema, table) not in excluded
    ]
    if earlier is None:
        return divide(found, archives)
    names = {name for name, _ in found}
    kept = (tuple(table for table in tables if table in names) for tables in earlier[: archives - 1])
    return tuple(filter(None, kept))  # pg_dump without the option --table would dump all


def divide(tables: Sequence[tuple[str, int]], archives: int) -> Placement:
    """Divide ``tables``, the largest first, between the main archive and ``archives - 1`` others.

    ``tables`` are names and sizes. Each table goes to the archive that is the smallest so far.
    """
    # The small tables stay in the main archive.
    sizes = [sum(size for _, size in tables[MOST_TABLES:]), *[0] * (archives - 1)]
    placed: list[list[str]] = [[] for _ in sizes]
    for name, size in tables[:MOST_TABLES]:
        # Of equal archives, the main one is the last choice.
        smallest = min(range(len(sizes)), key=lambda number: (sizes[number], number == 0, number))
        placed[smallest].append(name)
        sizes[smallest] += size
    return tuple(tuple(names) for names in placed[1:] if names)


def archive_options(details: DatabaseDetails, placement: Placement) -> Iterator[list[str]]:
    """Yield the options of ``pg_dump`` for each archive: for the main one, then for those with rows only."""

    def of_tables(option: str, tables: Iterable[str]) -> list[str]:
        return [f"{option}={as_argument(table, details.encoding)}" for table in tables]

    yield of_tables("--exclude-table-data", chain(details.excluded_data, *placement))
    for tables in placement:
        yield ["--section=data", *of_tables("--table", tables)]
