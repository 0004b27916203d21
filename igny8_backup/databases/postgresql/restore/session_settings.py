"""Choose settings for the sessions that load a staging database, so that rows are written faster."""

from __future__ import annotations

from igny8_backup.databases.session import Session

# The settings of the live database are looked for as well, because the staging database receives them only
# when it has been loaded.
_COMPRESSIBLE = """
    SELECT name FROM pg_settings
    WHERE name = 'default_toast_compression' AND source = 'default' AND 'lz4' = ANY (enumvals)
      AND NOT EXISTS (
        SELECT FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) one
        WHERE d.datname = %s AND starts_with(one, 'default_toast_compression='))"""


def loading_settings(session: Session, live: str) -> tuple[str, ...]:
    """Return settings, as ``name=value``, for the sessions that load a staging database of ``live``.

    ``session`` is a session in the staging database, ``live`` the name of the live database, which need not
    exist. The settings are:

    - ``synchronous_commit=off``: the swap is committed as the role's setting says, and with it everything
      that was logged before it (PostgreSQL docs, 28.4). So no other commit need wait for a disk or a standby.
    - ``default_toast_compression=lz4``, if the server has it (PostgreSQL docs, 19.11) and neither the server,
      the database nor the role says anything about it: compressing long values with ``pglz`` takes a quarter
      of the time of a restore. Columns that have a compression of their own keep it.
    """
    found = ["synchronous_commit=off"]
    if session.execute(_COMPRESSIBLE, [live]).fetchone() is not None:
        found.append("default_toast_compression=lz4")
    return tuple(found)
