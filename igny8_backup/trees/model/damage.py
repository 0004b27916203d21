"""The error for a stored tree that is not what was written."""

from __future__ import annotations

from igny8_backup.errors import IntegrityError


def damaged(what: str) -> IntegrityError:
    """An ``IntegrityError`` that says ``what`` was found, and what to do.

    Nothing live is changed before a stored tree has been read and checked to its end.
    """
    return IntegrityError(
        what,
        unchanged="Nothing live was changed.",
        hint="Choose another backup (list_backups), and check this one: verify_backup --depth content.",
    )
