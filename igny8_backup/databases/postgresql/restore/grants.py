"""Restore the privileges and owners that only a superuser could restore exactly as the archive says.

If a role other than the owner granted a privilege, the archive contains ``SET SESSION AUTHORIZATION`` for
that role, which only superusers may run. If the restoring role is not a superuser, the owner grants the
privilege instead: the same roles get the same privileges, and only the record of who granted them differs.
These privileges are restored after all other entries. A grantor may need a privilege that another entry
grants, and ``pg_restore`` with several jobs does not keep the order of entries.

Only a role that may create objects in a schema can become the owner of an object there (PostgreSQL docs,
ALTER TABLE). An archive grants the right to create objects at its end, or not at all. So all owners have this
right while the dump is restored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from igny8_backup.databases.postgresql.restore.archive.toc import Entry
from igny8_backup.databases.postgresql.roles.membership import reachable_roles
from igny8_backup.databases.quoting import identifier, literal
from igny8_backup.databases.session import Session

_GRANTOR = re.compile(r"^(?:SET SESSION AUTHORIZATION .*|RESET SESSION AUTHORIZATION);\n", re.MULTILINE)

# A new schema gets the default privileges of the role that creates it; ``public`` exists already.
_ALLOW = """
ALTER DEFAULT PRIVILEGES GRANT USAGE, CREATE ON SCHEMAS TO {roles};
DO $igny8_backup$ BEGIN
    GRANT USAGE, CREATE ON SCHEMA public TO {roles};
EXCEPTION WHEN OTHERS THEN NULL;
END $igny8_backup$;
"""
_FORBID = """
ALTER DEFAULT PRIVILEGES REVOKE USAGE, CREATE ON SCHEMAS FROM {roles};
DO $igny8_backup$ DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT format('REVOKE USAGE, CREATE ON SCHEMA %I FROM %I CASCADE', nspname, rolname)
        FROM pg_namespace, aclexplode(nspacl) a JOIN pg_roles r ON r.oid = a.grantee
        WHERE rolname = ANY (ARRAY[{names}]) AND nspowner <> r.oid AND nspname !~ '^pg_'
    LOOP
        BEGIN
            EXECUTE statement;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
END $igny8_backup$;
"""


@dataclass(frozen=True)
class Grants:
    """The entries of an archive for ``pg_restore``, and SQL to run ``before`` it and ``after`` it."""

    entries: tuple[Entry, ...]
    before: str = ""
    after: str = ""


def separate_grants(session: Session, entries: Sequence[Entry]) -> Grants:
    """Separate from ``entries`` the privileges that a role other than the object's owner granted.

    The SQL ``after`` of the result grants them. Privileges on the database itself are not separated: they
    name the live database, and ``pg_restore`` skips them.
    """
    found = {
        entry.number: entry.privileges
        for entry in entries
        if _GRANTOR.search(entry.privileges) and not entry.name.startswith("DATABASE ")
    }
    superuser = "SELECT rolsuper FROM pg_roles WHERE rolname = session_user"
    if found and session.execute(superuser).fetchone() != (True,):
        found = {number: _GRANTOR.sub("", text) for number, text in found.items()}
    before, after = _owners_may_create(session, entries)
    return Grants(
        tuple(entry for entry in entries if entry.number not in found),
        before,
        "".join(found.values()) + after,
    )


def _owners_may_create(session: Session, entries: Sequence[Entry]) -> tuple[str, str]:
    """Return SQL that lets the owners of ``entries`` create objects in each schema, and SQL that undoes it.

    Undoing can also revoke privileges on schemas that the archive grants, so the second SQL grants these
    again. Both are empty if the current role is a superuser, who may make any role an owner, or if there are
    no owners but the current role.
    """
    facts = "SELECT current_user::text, rolsuper FROM pg_roles WHERE rolname = current_user"
    user, superuser = session.execute(facts).fetchone() or ("", False)
    owners = sorted(({entry.owner for entry in entries} & reachable_roles(session)) - {user})
    if superuser or not owners:
        return "", ""
    roles, names = ", ".join(map(identifier, owners)), ", ".join(map(literal, owners))
    again = "".join(_tolerant(entry) for entry in entries if _concerns_schemas(entry))
    return _ALLOW.format(roles=roles), _FORBID.format(roles=roles, names=names) + again


def _tolerant(entry: Entry) -> str:
    """Return SQL that grants the privileges of ``entry`` and has no effect if the server refuses them."""
    body = f"BEGIN EXECUTE {literal(_GRANTOR.sub('', entry.privileges))};"
    return f"DO {literal(f'{body} EXCEPTION WHEN OTHERS THEN NULL; END')};\n"


def _concerns_schemas(entry: Entry) -> bool:
    """Return whether the entry grants privileges on a schema, or on schemas that are created later."""
    return entry.name.startswith("SCHEMA ") or entry.name == "DEFAULT PRIVILEGES FOR SCHEMAS"
