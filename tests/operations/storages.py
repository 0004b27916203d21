"""Django storages that fail on purpose."""

from __future__ import annotations

from typing import Any

from django.core.files.storage import FileSystemStorage


class FailsToDelete(FileSystemStorage):
    """Refuses to delete after a number of deletions."""

    left: int | None = None
    """How many deletions are still allowed; ``None`` for any number."""

    def delete(self, name: str) -> Any:
        kind = type(self)
        if kind.left == 0:
            raise PermissionError(13, "Permission denied")
        if kind.left is not None:
            kind.left -= 1
        return super().delete(name)


class KeepsManifests(FileSystemStorage):
    """Answers that a manifest was deleted, and keeps it."""

    def delete(self, name: str) -> Any:
        return None if name.endswith("manifest.json") else super().delete(name)
