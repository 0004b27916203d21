"""Read who owns the objects of a database, and the privileges on them that are not the default ones.

``pg_dump`` stores privileges as differences from an initial state, and some of these differences are lost.
For example, the schema ``public`` keeps its initial privileges when it is renamed, so a dump omits them. A
restore creates that schema anew, without these privileges. So a backup records what this module reads, and a
restore compares the record with the restored database (PostgreSQL docs, 5.8 "Privileges", and
``pg_init_privs``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby

from igny8_backup.databases.session import DriverError, Session
from igny8_backup.databases.values import Answers
from igny8_backup.formats.details import Privilege, SchemaAccess

# The schemas, without those that CREATE EXTENSION creates.
_SCHEMAS = """
    SELECT n.nspname::text, pg_get_userbyid(n.nspowner)::text,
           coalesce(pg_get_userbyid(nullif(a.grantee, 0))::text, ''), a.privilege_type, a.is_grantable
    FROM pg_namespace n
    LEFT JOIN LATERAL aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a ON true
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid
                      AND d.deptype = 'e')
    ORDER BY 1, 3, 4, 5"""

_GRANT = """
    coalesce(pg_get_userbyid(nullif(grantee, 0))::text, 'PUBLIC') || '=' || privilege_type
    || CASE WHEN is_grantable THEN '*' ELSE '' END"""

# Objects of an extension or of the server belong to the role that created the extension or the server, so
# their owners are not compared, and their initial privileges are in pg_init_privs. Arrays and the row types
# of tables have no privileges of their own. Large objects are counted, because a database may have millions.
# A dump lacks the privileges on information_schema, which initdb grants without an entry in pg_init_privs.
_OBJECTS = f"""
    WITH objects(class, id, subid, owner, acl, kind) AS (
      SELECT 'pg_class'::regclass, oid, 0, relowner, relacl, CASE relkind WHEN 'S' THEN 's' ELSE 'r' END
        FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
      UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum, NULL, attacl, 'c'
        FROM pg_attribute WHERE attacl IS NOT NULL AND NOT attisdropped
      UNION ALL SELECT 'pg_proc'::regclass, oid, 0, proowner, proacl, 'f' FROM pg_proc
      UNION ALL SELECT 'pg_type'::regclass, t.oid, 0, typowner, typacl, 'T' FROM pg_type t
        LEFT JOIN pg_class c ON c.oid = typrelid WHERE coalesce(c.relkind, 'c') = 'c' AND typcategory <> 'A'
      UNION ALL SELECT 'pg_language'::regclass, oid, 0, lanowner, lanacl, 'l' FROM pg_language
      UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, 0, fdwowner, fdwacl, 'F'
        FROM pg_foreign_data_wrapper
      UNION ALL SELECT 'pg_foreign_server'::regclass, oid, 0, srvowner, srvacl, 'S' FROM pg_foreign_server
      UNION ALL SELECT 'pg_operator'::regclass, oid, 0, oprowner, NULL, NULL FROM pg_operator
      UNION ALL SELECT 'pg_opclass'::regclass, oid, 0, opcowner, NULL, NULL FROM pg_opclass
      UNION ALL SELECT 'pg_opfamily'::regclass, oid, 0, opfowner, NULL, NULL FROM pg_opfamily
      UNION ALL SELECT 'pg_collation'::regclass, oid, 0, collowner, NULL, NULL FROM pg_collation
      UNION ALL SELECT 'pg_conversion'::regclass, oid, 0, conowner, NULL, NULL FROM pg_conversion
      UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, 0, stxowner, NULL, NULL FROM pg_statistic_ext
      UNION ALL SELECT 'pg_ts_config'::regclass, oid, 0, cfgowner, NULL, NULL FROM pg_ts_config
      UNION ALL SELECT 'pg_ts_dict'::regclass, oid, 0, dictowner, NULL, NULL FROM pg_ts_dict
      UNION ALL SELECT 'pg_publication'::regclass, oid, 0, pubowner, NULL, NULL FROM pg_publication),
    found(class, id, subid, owner, given, acl, initial) AS (
      SELECT o.class, o.id, subid, owner, given, acl,
             coalesce(i.initprivs, CASE WHEN id < 16384 AND class = 'pg_class'::regclass AND subid = 0
               THEN ARRAY[makeaclitem(0, owner, 'SELECT', false)]
               WHEN kind IS NOT NULL THEN acldefault(kind::"char", owner) END)
      FROM objects o
      CROSS JOIN LATERAL (SELECT o.id < 16384 OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.class
        AND d.objid = o.id AND d.deptype = 'e')) AS g(given)
      LEFT JOIN pg_init_privs i ON i.classoid = class AND i.objoid = id AND i.objsubid = subid
      WHERE acl IS NOT NULL OR NOT given AND owner <> (SELECT datdba FROM pg_database
                                                       WHERE datname = current_database())
      UNION ALL SELECT 'pg_default_acl'::regclass, oid, 0, NULL, false, defaclacl, NULL
        FROM pg_default_acl)
    SELECT type || ' ' || identity,
           CASE WHEN NOT given AND owner <> datdba THEN pg_get_userbyid(owner)::text END,
           ARRAY(SELECT {_GRANT} FROM aclexplode(acl) WHERE NOT given OR grantee IS DISTINCT FROM owner),
           ARRAY(SELECT {_GRANT} FROM aclexplode(initial) WHERE NOT given OR grantee IS DISTINCT FROM owner),
           acl IS NULL
    FROM found, pg_identify_object(class, id, subid), pg_database
    WHERE datname = current_database()"""  # noqa: S608 - a constant
_LARGE_OBJECTS = f"""
    SELECT pg_get_userbyid(lomowner)::text, number,
           ARRAY(SELECT {_GRANT} FROM aclexplode(coalesce(acl::aclitem[], acldefault('L', lomowner)))
                 WHERE grantee <> lomowner)
    FROM (SELECT lomowner, lomacl::text AS acl, count(*) AS number FROM pg_largeobject_metadata
          GROUP BY 1, 2) AS alike"""  # noqa: S608 - a constant


def read_schemas(session: Session) -> tuple[SchemaAccess, ...]:
    """Return the schemas of the database with their owners and privileges, sorted by name."""
    return tuple(
        SchemaAccess(
            name=name,
            owner=owner,
            privileges=tuple(
                Privilege(grantee=grantee, privilege=privilege, grantable=grantable)
                for _, _, grantee, privilege, grantable in rows
                if privilege
            ),
        )
        for (name, owner), rows in groupby(session.execute(_SCHEMAS), key=lambda row: (row[0], row[1]))
    )


def read_access(session: Session) -> dict[str, str]:
    """Return the owner and privileges of each object whose owner or privileges are not the default ones.

    A key is a kind and a name, such as ``table public.item``. A value is a text such as ``owner shop,
    web=SELECT, without PUBLIC=USAGE``. The default owner is that of the database. Large objects are counted:
    the key is their common owner and privileges, the value is their number.
    """
    found = {}
    for name, owner, granted, initial, is_default in session.execute(_OBJECTS):
        before, after = (set() if is_default else _distinct(items) for items in (initial, granted))
        text = [f"owner {owner}"] if owner else []
        text += [*sorted(after - before), *(f"without {item}" for item in sorted(before - after))]
        if text:
            found[name] = ", ".join(text)
    alike: Counter[str] = Counter()
    for owner, count, granted in session.execute(_LARGE_OBJECTS):
        alike[f"large objects of {owner} {', '.join(sorted(_distinct(granted)))}".rstrip()] += count
    return found | {name: str(count) for name, count in alike.items()}


def _distinct(items: Iterable[str]) -> set[str]:
    """Return ``items``, such as ``web=SELECT``, without those that another item includes.

    ``web=SELECT*`` means that the role may also grant the privilege to others, so this item includes
    ``web=SELECT``. MAINTAIN is left out, because servers before version 17 lack it.
    """
    known = set(filter(_is_known, items))
    return {item for item in known if f"{item}*" not in known}


def _is_known(item: str) -> bool:
    # Servers before version 17 lack MAINTAIN, and there a grant of all privileges means fewer.
    return not item.rstrip("*").endswith("=MAINTAIN")


def with_access(answers: Answers, session: Session) -> Answers:
    """Return ``answers`` with the schemas, owners and privileges that ``session`` sees in its transaction.

    If the catalogs cannot be read, ``answers`` are returned unchanged, and a restore does not compare
    schemas, owners and privileges.
    """
    try:
        with session.transaction():
            return replace(answers, schemas=read_schemas(session), access=read_access(session))
    except DriverError:
        if session.closed:
            raise
        return answers
