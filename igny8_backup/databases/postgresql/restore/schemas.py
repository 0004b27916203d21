"""Set the recorded owners and privileges of schemas; drop a schema ``public`` that the backup did not have.

A new database has a schema ``public``, which a dump never drops. A dump also lacks the privileges of a schema
that was called ``public`` earlier (see ``postgresql.roles.access``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from igny8_backup.databases.quoting import literal
from igny8_backup.formats.details import SchemaAccess
from igny8_backup.formats.records import to_plain

# Each statement runs in a block of its own, so that a statement that this role may not run does not undo the
# others; the caller compares the result with the backup. If this role may not give a schema to its recorded
# owner, the present owner gets the owner's privileges.
_RESTORE = """
DO $igny8_backup$
DECLARE
    recorded jsonb := current_setting('igny8_backup.schemas');
    item jsonb;
    present text[];
    wanted text[];
    statement text;
BEGIN
    IF NOT recorded @> '[{"name": "public"}]' THEN
        BEGIN
            DROP SCHEMA IF EXISTS public;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END IF;
    FOR item IN
        SELECT value FROM jsonb_array_elements(recorded) JOIN pg_namespace ON nspname = value ->> 'name'
    LOOP
        IF nullif(item ->> 'owner', '') <> (SELECT pg_get_userbyid(nspowner) FROM pg_namespace
                                WHERE nspname = item ->> 'name') THEN
            BEGIN
                EXECUTE format('ALTER SCHEMA %I OWNER TO %I', item ->> 'name', item ->> 'owner');
            EXCEPTION WHEN OTHERS THEN NULL;
            END;
        END IF;
        CONTINUE WHEN item ->> 'privileges' IS NULL;
        SELECT array_agg(change ORDER BY change COLLATE "C") INTO present
        FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) a,
            format('GRANT %s ON SCHEMA %I TO %s%s', privilege_type, nspname,
                coalesce(quote_ident(pg_get_userbyid(nullif(grantee, 0))), 'PUBLIC'),
                CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END) AS change
        WHERE nspname = item ->> 'name';
        SELECT array_agg(change ORDER BY change COLLATE "C") INTO wanted
        FROM pg_namespace, jsonb_array_elements(item -> 'privileges') AS a(value),
            format('GRANT %s ON SCHEMA %I TO %s%s', value ->> 'privilege', nspname,
                CASE value ->> 'grantee' WHEN '' THEN 'PUBLIC'
                    WHEN item ->> 'owner' THEN quote_ident(pg_get_userbyid(nspowner))
                    ELSE quote_ident(value ->> 'grantee') END,
                CASE WHEN (value ->> 'grantable')::boolean THEN ' WITH GRANT OPTION' END) AS change
        WHERE nspname = item ->> 'name';
        CONTINUE WHEN present IS NOT DISTINCT FROM wanted;
        FOR statement IN
            SELECT change FROM (
                SELECT DISTINCT 1, format('REVOKE ALL ON SCHEMA %I FROM %s CASCADE', nspname,
                    coalesce(quote_ident(pg_get_userbyid(nullif(grantee, 0))), 'PUBLIC'))
                FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
                WHERE nspname = item ->> 'name'
                UNION ALL SELECT 2, unnest(wanted)) AS c(step, change) ORDER BY step
        LOOP
            BEGIN
                EXECUTE statement;
            EXCEPTION WHEN OTHERS THEN NULL;
            END;
        END LOOP;
    END LOOP;
END $igny8_backup$;
"""


def schemas_script(schemas: Sequence[SchemaAccess] | None) -> str:
    """Return SQL that sets the recorded owners and privileges of existing schemas.

    The SQL also drops the schema ``public`` if it is empty and not among ``schemas``. Statements that the
    current role may not run have no effect. The SQL must run in a transaction. It is empty if ``schemas`` is
    ``None``, as in backups of earlier releases.
    """
    if schemas is None:
        return ""
    recorded = json.dumps(to_plain(tuple(schemas)))
    return f"\nSET LOCAL igny8_backup.schemas = {literal(recorded)};{_RESTORE}"
