"""A private folder in ``SCRATCH_DIR`` that exists only while a restore or a drill needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from igny8_backup.common.filesystem import make_private
from igny8_backup.errors import FilesError
from igny8_backup.trees.fs.remove import remove_tree


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Create ``folder`` with mode 0700; remove it at the end of the ``with`` block. Raises ``FilesError``."""
    try:
        make_private(folder.parent)
        folder.mkdir(0o700)
    except OSError as error:
        what = f"No scratch folder can be created in {folder.parent}: {error.strerror}."
        hint = "Set IGNY8_BACKUP['SCRATCH_DIR'] to a folder that this user can write to."
        raise FilesError(what, unchanged="Nothing live was changed.", hint=hint) from None
    try:
        yield folder
    finally:
        remove_tree(folder)
