"""SQL for a restore in place: empty the database first, and check the restored contents at the end.

The SQL of :func:`clear_script` begins the transaction of the restore. The SQL of :func:`check_script` comes
last, before the caller sends ``COMMIT``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from igny8_backup.databases.names import split_table_name
from igny8_backup.databases.postgresql.probes import FIXED
from igny8_backup.databases.quoting import identifier, literal
from igny8_backup.formats.details import DatabaseDetails

LOCK_SECONDS = 30
"""The time limit in seconds for a statement that waits for a table lock."""

# Objects with an oid below 16384 (FirstNormalObjectId in PostgreSQL's transam.h) belong to the server. DROP
# SCHEMA removes all objects in a schema, whatever their owners. Extensions are dropped first, because some
# prevent dropping their schema. ``public`` is created again as initdb does, because a dump assumes that it
# exists. Default privileges for a role are removed by setting them to the server's defaults (PostgreSQL docs,
# ALTER DEFAULT PRIVILEGES).
_CLEAR = """
DO $igny8_backup$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT format('DROP PUBLICATION %I', pubname) FROM pg_catalog.pg_publication
        UNION ALL SELECT format('DROP EXTENSION %I CASCADE', extname) FROM pg_catalog.pg_extension
            WHERE oid >= 16384 AND extname <> 'plpgsql'
    LOOP EXECUTE statement; END LOOP;
    FOR statement IN
        SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM pg_catalog.pg_namespace
            WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    LOOP EXECUTE statement; END LOOP;
    FOR statement IN
        SELECT format('DROP EVENT TRIGGER %I', evtname) FROM pg_catalog.pg_event_trigger
            WHERE pg_has_role(evtowner, 'USAGE')
        UNION ALL SELECT format('DROP FOREIGN DATA WRAPPER %I CASCADE', fdwname)
            FROM pg_catalog.pg_foreign_data_wrapper WHERE oid >= 16384
        UNION ALL SELECT format('DROP TRANSFORM FOR %s LANGUAGE %I', t.trftype::regtype, l.lanname)
            FROM pg_catalog.pg_transform t JOIN pg_catalog.pg_language l ON l.oid = t.trflang
            WHERE t.oid >= 16384
        UNION ALL SELECT format('DROP LANGUAGE %I CASCADE', lanname)
            FROM pg_catalog.pg_language WHERE oid >= 16384
        UNION ALL SELECT format('DROP ACCESS METHOD %I CASCADE', amname)
            FROM pg_catalog.pg_am WHERE oid >= 16384
        UNION ALL SELECT format('DROP CAST (%s AS %s)', castsource::regtype, casttarget::regtype)
            FROM pg_catalog.pg_cast WHERE oid >= 16384
    LOOP EXECUTE statement; END LOOP;
    FOR statement IN
        SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I %s', pg_get_userbyid(d.defaclrole), change)
        FROM pg_catalog.pg_default_acl d
        CROSS JOIN LATERAL (SELECT CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES'
            WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS'
            ELSE 'LARGE OBJECTS' END) AS k(kind)
        CROSS JOIN LATERAL (
            SELECT 0, format('REVOKE ALL ON %s FROM %s', kind, CASE a.grantee WHEN 0 THEN 'PUBLIC'
                ELSE quote_ident(pg_get_userbyid(a.grantee)) END) FROM aclexplode(d.defaclacl) a
            UNION SELECT 1, format('GRANT ALL ON %s TO %I', kind, pg_get_userbyid(d.defaclrole))
            UNION SELECT 2, format('GRANT %s ON %s TO PUBLIC', CASE d.defaclobjtype WHEN 'f' THEN 'EXECUTE'
                ELSE 'USAGE' END, kind) WHERE d.defaclobjtype IN ('f', 'T')) AS c(step, change)
        WHERE d.defaclnamespace = 0 ORDER BY d.oid, step
    LOOP EXECUTE statement; END LOOP;
    PERFORM lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata;
END $igny8_backup$;
CREATE SCHEMA public;
ALTER SCHEMA public OWNER TO pg_database_owner;
GRANT USAGE ON SCHEMA public TO PUBLIC;
COMMENT ON SCHEMA public IS 'standard public schema';
"""

_CHECK = """
DO $igny8_backup$
DECLARE
    expected jsonb := current_setting('igny8_backup.expected');
    missing text;
    place text;
    found jsonb;
BEGIN
    SELECT string_agg(format('%I.%I', item ->> 0, item ->> 1), ', ') INTO missing
    FROM jsonb_array_elements(expected -> 'tables') item
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n
        ON n.oid = c.relnamespace WHERE n.nspname = item ->> 0 AND c.relname = item ->> 1);
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'tables are missing: %', missing;
    END IF;
    IF expected -> 'migrations' = '{}' THEN RETURN; END IF;
    FOR place IN SELECT relnamespace::regnamespace FROM pg_catalog.pg_class
        WHERE relname = 'django_migrations' AND relkind IN ('r', 'p')
    LOOP
        IF expected -> 'applied_migrations' = 'null' THEN
            EXECUTE format('SELECT jsonb_object_agg(app, name) FROM (SELECT DISTINCT ON (app) app, name'
                ' FROM %s.django_migrations ORDER BY app, id DESC) AS last', place) INTO found;
            IF found = expected -> 'migrations' THEN RETURN; END IF;
        ELSE
            EXECUTE format('SELECT jsonb_object_agg(app, names) FROM (SELECT app, jsonb_agg(name'
                ' ORDER BY name COLLATE "C") AS names FROM (SELECT DISTINCT app, name'
                ' FROM %s.django_migrations) AS applied GROUP BY app) AS by_app', place) INTO found;
            IF found = expected -> 'applied_migrations' THEN RETURN; END IF;
        END IF;
    END LOOP;
    RAISE EXCEPTION 'the migrations differ from those of the backup';
END $igny8_backup$;
"""

# A row is compared as the text of a record (``record_out``), which consists of the text of each value.
_COMPARE = """
DO $igny8_backup$
DECLARE
    expected jsonb := current_setting('igny8_backup.expected');
    item jsonb;
    number bigint;
    answer text[];
BEGIN
    FOR item IN SELECT * FROM jsonb_array_elements(expected -> 'row_counts')
    LOOP
        EXECUTE format('SELECT count(*) FROM (SELECT FROM ONLY %s LIMIT %s) AS counted',
            item ->> 0, item ->> 2)
            INTO number;
        IF number <> (item ->> 1)::bigint THEN
            RAISE EXCEPTION '% had % rows and now has %', item ->> 0, item ->> 1, number;
        END IF;
    END LOOP;
    FOR item IN SELECT * FROM jsonb_array_elements(expected -> 'probes')
    LOOP
        EXECUTE format(E'SELECT array_agg(igny8_backup_probe::text) FROM (%s\n) AS igny8_backup_probe',
            item ->> 'query') INTO answer;
        IF (SELECT array_agg(row ORDER BY row COLLATE "C") FROM unnest(answer) AS row) IS DISTINCT FROM
           (SELECT array_agg(row ORDER BY row COLLATE "C")
            FROM jsonb_array_elements_text(item -> 'rows') AS row)
        THEN
            RAISE EXCEPTION 'the probe "%" has another result than in the backup', item ->> 'name';
        END IF;
    END LOOP;
END $igny8_backup$;
"""

# Set the last run of periodic tasks to now, so that the tasks due since the backup do not all run at once.
_RESCHEDULE = """
DO $igny8_backup$
DECLARE
    statement text;
BEGIN
    FOR statement IN SELECT format('UPDATE %s SET %s', oid::regclass, CASE relname
            WHEN 'django_celery_beat_periodictasks' THEN 'last_update = now()'
            ELSE 'last_run_at = now() WHERE last_run_at IS NOT NULL OR coalesce(start_time, now()) <= now()'
            END) FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p')
                AND relname IN ('django_celery_beat_periodictask', 'django_celery_beat_periodictasks')
    LOOP EXECUTE statement; END LOOP;
END $igny8_backup$;
"""


def clear_script(role: str, lock_seconds: float) -> bytes:
    """Return SQL that begins a transaction and removes all objects from the database.

    ``role`` is the role to assume first (SET ROLE), or empty. ``lock_seconds`` is the time limit for each
    table lock.
    """
    beginning = "SET client_min_messages = error;\n"
    if role:
        beginning += f"SET ROLE {identifier(role)};\n"
    beginning += f"BEGIN;\nSET LOCAL lock_timeout = {int(lock_seconds * 1000)};"
    return (beginning + _CLEAR).encode()


def run_script(statements: str) -> bytes:
    """Return SQL that runs ``statements``, which contain text from an archive.

    The statements are quoted, so that psql does not run text in them that looks like a backslash command.
    """
    if not statements:
        return b""
    body = f"BEGIN EXECUTE {literal(statements)}; END"
    return f"\nDO {literal(body)};\n".encode(errors="surrogateescape")


def check_script(details: DatabaseDetails) -> bytes:
    """Return SQL that fails unless the restored contents match ``details``, which the backup recorded.

    Tables, migrations, row counts and results of probes (queries from the settings) are compared. The SQL
    also sets the last run of periodic tasks (django-celery-beat) to now. It runs in the transaction of the
    restore, so a failure rolls the restore back.
    """
    names = {table: identifier(*split_table_name(table)) for table in details.row_counts}
    expected = json.dumps(
        {
            "tables": [split_table_name(table) for table in details.tables],
            "migrations": details.migrations,
            "applied_migrations": details.applied_migrations,
            "row_counts": [
                (names[table], number, details.counted_to + 1) for table, number in details.row_counts.items()
            ],
            "probes": [
                {"name": probe.name, "query": probe.query, "rows": list(map(_record, probe.rows))}
                for probe in details.probes
            ],
        }
    )
    setting = f"\nSET LOCAL igny8_backup.expected = {literal(expected)};"
    # The script has set an empty search path; probes use that of the database.
    checks = f"{_CHECK}{FIXED}; SET LOCAL search_path TO DEFAULT;{_COMPARE}"
    return (setting + checks + _RESCHEDULE).encode()


def _record(values: Sequence[str | None]) -> str:
    """Return the values of a row in PostgreSQL's text format for records, such as ``(1,"a b",)``.

    Source: PostgreSQL docs, 8.16.6, Composite Type Input and Output Syntax.
    """

    def field(value: str | None) -> str:
        if value is None or (value and not re.search(r'["\\(),\s]', value)):
            return value or ""
        return '"' + value.replace("\\", "\\\\").replace('"', '""') + '"'

    return f"({','.join(map(field, values))})"
