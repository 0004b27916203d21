"""Create an age identity: the private key, which restores need and the backup server must not have."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from igny8_backup.errors import FilesError, UsageError
from igny8_backup.filesystem import sync
from igny8_backup.streams.age import generate_identity


def make_key(path: Path, now: datetime) -> str:
    """Write a new identity to ``path`` (mode 0600, in the format of age-keygen) and return its recipient.

    Raises :class:`UsageError` if the file exists, because backups encrypted to an overwritten key could not
    be read any more; :class:`FilesError` if the file cannot be written.
    """
    identity, recipient = generate_identity()
    text = f"# created: {now:%Y-%m-%dT%H:%M:%SZ}\n{identity}"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(
            f"{path} already exists.",
            unchanged="The file was not overwritten: it may be the only key to your backups.",
            hint="Choose another file name.",
        ) from None
    except OSError as error:
        what = f"{path} cannot be written: {error.strerror}."
        raise FilesError(what, unchanged="No key was created.", hint="Choose another folder.") from None
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        sync(file.fileno())
    return recipient
