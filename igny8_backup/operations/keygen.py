"""A new age identity in a private file (law 5)."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from igny8_backup.errors import FilesError, UsageError
from igny8_backup.streams.age import generate_identity


def make_key(path: Path, now: datetime) -> str:
    """Writes a new identity to ``path`` (0600, in the format of age's own files) and returns its recipient.

    Raises :class:`UsageError` when the file exists: overwriting a key would lose every backup made for it.
    """
    identity, recipient = generate_identity()
    text = f"# created: {now:%Y-%m-%dT%H:%M:%SZ}\n{identity}"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(
            f"{path} exists.",
            unchanged="It was not overwritten: it may be the only key to your backups.",
            hint="Choose another file name.",
        ) from None
    except OSError as error:
        raise FilesError(
            f"{path} cannot be written: {error.strerror}.", hint="Choose another folder."
        ) from None
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return recipient
