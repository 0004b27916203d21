"""The error for a stored tree that is not what a backup wrote."""

from __future__ import annotations

from igny8_backup.errors import IntegrityError


def damaged(what: str) -> IntegrityError:
    """Return the error for damaged stored data: ``what`` (a sentence), and advice to use another backup.

    The error also says that nothing live was changed: a stored tree is checked to its end before the swap.
    """
    return IntegrityError(
        what,
        unchanged="Nothing live was changed.",
        hint="Choose another backup (list_backups), and check this one: verify_backup --depth content.",
    )
