"""Check that live databases are the same before and after a dump is loaded into another database.

The SQL of a dump can do whatever the role of the restore may do, also in other databases of the server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from igny8_backup.common.humanize import listed
from igny8_backup.errors import BackupError, DatabaseError, IntegrityError, UnfinishedError
from igny8_backup.operations.context import BackupContext

_Marks = Mapping[str, Mapping[str, str] | None]


@contextmanager
def unchanged_live(
    context: BackupContext,
    aliases: Iterable[str],
    *,
    contents: bool = False,
    unless_it_succeeds: bool = False,
) -> Iterator[None]:
    """Check that the ``with`` block leaves the live databases of ``aliases`` unchanged, even if it fails.

    Identity, attributes and settings are compared; with ``contents``, the tables too. ``unless_it_succeeds``:
    a block that succeeds is meant to change the databases, so they are compared only if the block fails.
    Raises ``IntegrityError``, which says what differs.

    If the server of a database does not answer before or after the block, the database is not compared, and
    a note says so. If the block fails and the server has stopped answering since the block began, the error
    of the block says instead that nobody knows whether the database was changed.
    """
    names = tuple(aliases)
    before = {alias: _marks(context, alias, contents) for alias in names}
    try:
        yield
    except UnfinishedError:
        raise  # whether the database was changed is what this error is about
    except BackupError as error:
        _require_equal(context, before, contents, error)
        raise
    if not unless_it_succeeds:
        _require_equal(context, before, contents, None)


def _require_equal(context: BackupContext, before: _Marks, contents: bool, error: BackupError | None) -> None:
    """Raise ``IntegrityError`` if a live database differs from its state ``before``.

    ``contents``: compare the tables too. ``error`` is the failure of the ``with`` block, if it has failed.
    """
    found = []
    for alias, then in before.items():
        now = _marks(context, alias, contents) if then is not None else None
        if then is None or now is None:
            unknown = f"Whether the live database {alias!r} was changed is not known"
            if error and then is not None:
                error.replace_context(f"{unknown}, because its server no longer answers.")
            else:
                context.progress.note(f"{unknown}: see above.")
        elif different := [name for name in then if then[name] != now.get(name)]:
            found.append(f"{alias!r} ({listed(different)})")
    if found:
        reason = f" The restore failed, too: {error.what}" if error else ""
        raise IntegrityError(
            f"While the dump was loaded, live databases changed: {', '.join(found)}. Either the dump has"
            f" changed them, or somebody else at the same time.{reason}",
            unchanged="The names in brackets say what differs.",
            hint="Find out who changed them. If it was nobody, do not use this backup again: its dump attacks"
            " your server.",
        ) from None


def _marks(context: BackupContext, alias: str, contents: bool) -> Mapping[str, str] | None:
    try:
        return context.engine(alias).live_marks(contents=contents)
    except DatabaseError as error:
        context.progress.note(f"The live database {alias!r} could not be examined: {error}")
        return None
