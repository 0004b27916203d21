"""Find out from the sizes of two copies whether a database or tree shrank."""

from __future__ import annotations

from collections.abc import Mapping

from igny8_backup.common.humanize import count_in_words, size_in_words
from igny8_backup.formats.comparison import Baseline, Expected
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart

BYTES, FILES, ROWS = "bytes", "files", "rows"
"""The sizes that are compared: bytes before compression; the files of a tree; the rows of a database."""
MOVE = "move"
"""The value of ``Expected.by`` for a move to another server. A move explains no change of the size."""

Sizes = Mapping[str, int]


def sizes_of(part: DatabasePart | TreePart) -> dict[str, int]:
    """Return the sizes of a copy that can be compared with those of another copy.

    The keys are ``FILES`` and ``BYTES`` for a tree, ``ROWS`` and ``BYTES`` for a database. Backups of earlier
    releases have no ``ROWS``.
    """
    if isinstance(part, TreePart):
        return {FILES: part.files, BYTES: part.bytes}
    counted = {} if part.rows is None else {ROWS: part.rows}
    return {**counted, BYTES: part.bytes}


def drop_in(part: DatabasePart | TreePart, baseline: Baseline, share: float | None, source: str) -> str:
    """Describe how the copy ``part`` shrank, in words; return ``""`` if it did not.

    ``baseline`` has the sizes of an earlier copy, which ``source`` names; none if there is no such copy. A
    size shrank if it dropped to nothing, or below ``share`` of the baseline. If ``share`` is ``None``,
    nothing is compared.

    If a restore or an undo came before the copy, ``part.expected`` holds the sizes that it announced. These
    replace the sizes of the baseline. A size that was not announced shrank only if it dropped to nothing.
    """
    if share is None:
        return ""
    now = sizes_of(part)
    announced = _announced(part.expected)
    if part.expected and announced:
        source = f"the {part.expected.by} before it"
    then = {**_known(baseline), **announced}
    least = {name: size * share for name, size in then.items()}
    if part.expected and part.expected.by != MOVE:
        # The size of what became live is not known. It may be small, but it cannot be nothing.
        least |= {name: 0 for name in then if name not in announced}
    dropped = [
        name
        for name, size in then.items()
        if size > 0 and name in now and (now[name] == 0 or now[name] < least[name])
    ]
    if not dropped:
        return ""
    return f"it has {_in_words(now, dropped)}, while {source} had {_in_words(then, dropped)}"


def _announced(expected: Expected | None) -> dict[str, int]:
    return _known(expected) if expected else {}


def _known(sizes: Expected | Baseline) -> dict[str, int]:
    found = {FILES: sizes.files, ROWS: sizes.rows, BYTES: sizes.bytes}
    return {name: size for name, size in found.items() if size is not None}


def _in_words(sizes: Sizes, names: list[str]) -> str:
    texts = {
        name: size_in_words(size) if name == BYTES else count_in_words(size, name.removesuffix("s"))
        for name, size in sizes.items()
    }
    return " and ".join(texts[name] for name in names)
