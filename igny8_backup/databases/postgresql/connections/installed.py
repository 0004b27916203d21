"""Find out which PostgreSQL driver Django uses, or why Django can import none."""

from __future__ import annotations

from importlib.util import find_spec

from igny8_backup.errors import RefusedError


def uses_psycopg3() -> bool:
    """Return whether Django uses psycopg 3. Raises :class:`RefusedError` if no driver can be imported."""
    try:
        from django.db.backends.postgresql.psycopg_any import is_psycopg3
    except ImportError as error:
        unchanged = "Nothing was read or written."
        if find_spec("psycopg"):
            # Django tries psycopg2 next, so the error of psycopg is its context.
            reason = " ".join(str(error.__context__ or error).split())
            raise RefusedError(
                f"psycopg is installed, but it cannot be imported: {reason}.",
                unchanged=unchanged,
                hint="Install the library that it lacks, or: pip install 'psycopg[binary]'.",
            ) from None
        raise RefusedError(
            "Neither psycopg nor psycopg2 is installed, so PostgreSQL cannot be reached.",
            unchanged=unchanged,
            hint="Install one: pip install 'igny8-backup[postgres]'.",
        ) from None
    return bool(is_psycopg3)
