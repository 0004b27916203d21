"""Turn errors of the file system into errors of the storage that say what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from igny8_backup.common.filesystem import ownership_hint
from igny8_backup.errors import StorageError
from igny8_backup.store.objects import UnreachableError
from igny8_backup.store.transient import ERRNOS

FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def translated_errors(root: Path, action: str) -> Iterator[None]:
    """Raise an ``OSError`` as the ``StorageError`` that says what to do.

    ``root`` is the location of the store, ``action`` what the process tried, such as ``list``.
    """
    try:
        yield
    except OSError as error:
        kind: type[StorageError] = StorageError
        if error.errno in FULL:
            what = f"No space is left in the folder {root}."
            hint = "Free space there, or delete backups that are no longer needed."
        elif isinstance(error, PermissionError):
            what = f"The user of this process may not {action} {error.filename or root}."
            hint = ownership_hint(root)
        else:
            kind = UnreachableError if error.errno in ERRNOS else StorageError
            what = f"Cannot {action} {error.filename or root}: {error.strerror}."
            hint = "Check the disk, the mount and the limits of this process (ulimit -f)."
        raise kind(what, hint=hint) from error
