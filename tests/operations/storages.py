"""Django storages that misbehave as told."""

from __future__ import annotations

from typing import Any

from django.core.files.storage import FileSystemStorage


class FailsToDelete(FileSystemStorage):
    """Refuses to delete once it has deleted so many objects."""

    left: int | None = None
    """How many deletions are still done; ``None`` for any number."""

    def delete(self, name: str) -> Any:
        kind = type(self)
        if kind.left == 0:
            raise PermissionError(13, "Permission denied")
        if kind.left is not None:
            kind.left -= 1
        return super().delete(name)
