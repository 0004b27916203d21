"""Choose the schema of a manifest: the earliest one that can describe its parts.

A manifest of schema 1 names its packs itself. Schema 2 names lists of packs. Schema 3 adds dumps in chunks
and dumps in several archives, schema 4 dumps in several archives that are all in chunks, and schema 5 large
files in chunks. Earlier releases cannot read what a later schema adds.
"""

from __future__ import annotations

from collections.abc import Iterable

from igny8_backup.formats.chunked import is_large_tar
from igny8_backup.formats.manifest import SCHEMA
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart

ARCHIVES_SCHEMA, DUMPS_SCHEMA, WHOLE_SCHEMA = 4, 3, 2


def schema_of(databases: Iterable[DatabasePart], trees: Iterable[TreePart]) -> int:
    """Return the schema in which a manifest with these databases and trees is written."""
    parts = list(databases)
    if any(is_large_tar(pack.key) for tree in trees for pack in tree.packs):
        return SCHEMA
    if any(part.chunked and part.data for part in parts):
        return ARCHIVES_SCHEMA
    return DUMPS_SCHEMA if any(part.chunked or part.data for part in parts) else WHOLE_SCHEMA
