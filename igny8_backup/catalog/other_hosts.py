"""Notes and errors about parts that another host has backed up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from igny8_backup.catalog.given import Given
from igny8_backup.errors import UsageError
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart


def other_host_error(
    wanted: Given | None, tree: str, hosts: Iterable[str], *, host: str, searched: str
) -> UsageError:
    """Return the error for a tree that has copies from ``hosts``, but none from the host ``searched``.

    ``wanted`` is the backup that the user has named, if any; ``host`` is the name of this machine.
    """
    first, *more = dict.fromkeys(hosts)
    what = (
        f"{wanted.name} holds the files of {tree!r} of host {first}"
        if wanted
        else f"No backup of host {searched} has a complete copy of the tree {tree!r}"
    )
    others = f" There are copies of {', '.join((first, *more))}." if wanted is None else ""
    return UsageError(
        f"{what}. This is host {host}.{others}",
        hint=f"To take the files of another host: --from-host {first}. If this machine replaces it, set"
        f" IGNY8_BACKUP['HOST'] to {first!r}.",
    )


def other_host_notes(
    host: str, databases: Iterable[tuple[Manifest, DatabasePart]], trees: Iterable[tuple[Manifest, TreePart]]
) -> Iterator[str]:
    """Yield a note for each database and tree that was backed up by another host."""
    for manifest, database in databases:
        if manifest.host != host:
            yield (
                f"The database {database.alias!r} was backed up by another host, {manifest.host}. This is"
                f" {host}: make sure that both use the same database."
            )
    for manifest, tree in trees:
        if manifest.host != host:
            yield f"The files of {tree.name!r} are THOSE OF ANOTHER HOST, {manifest.host}. This is {host}."
