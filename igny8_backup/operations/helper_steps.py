"""Helper steps of a run: if one of them fails, the run continues.

Examples are collecting the planner's statistics after a load, and counting rows while a database is dumped.
A run in which a helper step failed reports the failure at its end, and ends with status 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from igny8_backup.errors import BackupError, IntegrityError, LockedError, UnfinishedError

_ALWAYS_RAISED = (IntegrityError, LockedError, UnfinishedError)
"""Damage, a lost lock and an unfinished swap end the run, even if a helper step finds them."""


@dataclass(frozen=True)
class Shortfall:
    """A helper step that failed.

    ``part`` is the name of the database or tree, ``step`` the name of the step, ``text`` a sentence for the
    user.
    """

    part: str
    step: str
    text: str


class Shortfalls:
    """Collects each helper step that fails during a run."""

    def __init__(self) -> None:
        self._found: list[Shortfall] = []

    def add(self, part: str, step: str, text: str) -> None:
        """Record a helper step that failed without raising an error.

        The arguments are the fields of :class:`Shortfall`.
        """
        self._found.append(Shortfall(part, step, text))

    @contextmanager
    def helper_step(self, part: str, step: str, what: str) -> Iterator[None]:
        """Run a helper step in the ``with`` block. A :class:`BackupError` is recorded and not raised.

        Damage, a lost lock and an unfinished swap are raised all the same.
        The recorded text begins with ``what``, such as "The rows of 'default' were not counted".
        """
        try:
            yield
        except _ALWAYS_RAISED:
            raise
        except BackupError as error:
            reason, _, hint = error.parts
            self.add(part, step, " ".join(filter(None, (f"{what}: {reason}", hint))))

    def take(self) -> tuple[Shortfall, ...]:
        """Return the shortfalls that were recorded since the last call, without duplicates."""
        found = tuple(dict.fromkeys(self._found))
        self._found.clear()
        return found

    def take_texts(self) -> tuple[str, ...]:
        """Return the texts of :meth:`take`."""
        return tuple(item.text for item in self.take())
