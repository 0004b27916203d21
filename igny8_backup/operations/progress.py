"""How an operation tells how far it is, without knowing who reads it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told by operations how far they are."""

    def begin(self, what: str, total: int | None, files: int | None = None) -> None:
        """``what`` begins; ``total`` is its size in bytes, about, and ``files`` their number, if known."""

    def advance(self, amount: int, files: int = 0) -> None:
        """``amount`` more bytes are through, and so many ``files``. A file that is read again may take bytes
        back."""

    def end(self) -> None:
        """What was begun has ended."""

    def note(self, text: str) -> None:
        """Something to read."""


class NullProgress:
    """A :class:`Progress` that shows nothing."""

    def begin(self, what: str, total: int | None, files: int | None = None) -> None: ...

    def advance(self, amount: int, files: int = 0) -> None: ...

    def end(self) -> None: ...

    def note(self, text: str) -> None: ...
