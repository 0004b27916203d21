"""Find out which providers define the security labels in a dump, and which of them a server has not loaded.

A provider, for example ``sepgsql`` or ``anon``, is a module that a server loads because its setting
``shared_preload_libraries`` names it. A server refuses every label of a provider that it has not loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from igny8_backup.databases.quoting import identifier
from igny8_backup.databases.session import DriverError, Session

_PROVIDER = re.compile(rb'^SECURITY LABEL FOR (?:"((?:[^"]|"")*)"|(\S+)) ON ', re.MULTILINE)
_NO_SCHEMA = "igny8_backup_no_schema"
_UNKNOWN_PROVIDER = "22023"  # invalid_parameter_value (ExecSecLabelStmt in PostgreSQL's sources)


def label_providers(definition: bytes, encoding: str) -> frozenset[str]:
    """Return the label providers that an entry of the kind ``SECURITY LABEL`` names.

    ``definition`` is the SQL of the entry, in the given ``encoding``. One entry has all labels of
    an object, for example of a table and its columns.
    """
    found = (match[2] or match[1].replace(b'""', b'"') for match in _PROVIDER.finditer(definition))
    return frozenset(name.decode(encoding, "surrogateescape") for name in found)


def unknown_providers(session: Session, names: Iterable[str]) -> set[str]:
    """Return those of the providers ``names`` that the server of ``session`` has not loaded."""
    return {name for name in names if not _is_loaded(session, name)}


def _is_loaded(session: Session, provider: str) -> bool:
    # There is no list of providers to ask. The server looks for the provider first, then for the object.
    try:
        with session.transaction(rollback=True):
            session.execute(f"SECURITY LABEL FOR {identifier(provider)} ON SCHEMA {_NO_SCHEMA} IS NULL")
    except DriverError as error:
        return error.sqlstate != _UNKNOWN_PROVIDER
    return True
