"""The pages of S3 listings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from igny8_backup.errors import StorageError
from igny8_backup.store.objects import Stored


@dataclass(frozen=True)
class Listing:
    """An operation of S3 that returns a listing in pages.

    ``position`` maps each parameter that the next request needs to the field of a page that holds its value.
    """

    operation: str
    position: dict[str, str]

    def next_position(
        self, page: dict[str, Any], position: dict[str, Any], place: str
    ) -> dict[str, Any] | None:
        """Return the parameters that request the page after ``page``; ``None`` after the last.

        ``position`` are the parameters that requested ``page``. Raises ``StorageError`` if the storage
        ``place`` says that there is another page, but not where it begins, or gives the same position again:
        the listing would be incomplete or endless.
        """
        if not page.get("IsTruncated"):
            return None
        following = {name: page[field] for name, field in self.position.items() if page.get(field)}
        if not following or following == position:
            raise StorageError(
                f"{place} returned an incomplete listing without the position at which to continue.",
                hint="Report it to the provider of the storage, or use another storage.",
            )
        return following


def contents(page: dict[str, Any]) -> Iterator[Stored]:
    """Yield the objects in a page of ``OBJECTS``, without those that other tools create as folders.

    The tag of an object is its ETag and the time of writing, in case a server gives the same ETag twice.
    """
    for entry in page.get("Contents", ()):
        if not entry["Key"].endswith("/"):
            modified, text = _written(entry["LastModified"])
            tag = f"{entry['ETag']} {text}" if entry.get("ETag") else ""
            yield Stored(entry["Key"], entry["Size"], modified, tag)


@lru_cache(maxsize=4096)
def _written(modified: datetime) -> tuple[datetime, str]:
    """Return a time of writing in UTC, and as text. A run writes many objects in the same second."""
    found = modified.astimezone(UTC)
    return found, found.isoformat()


OBJECTS = Listing("list_objects_v2", {"ContinuationToken": "NextContinuationToken"})
UPLOADS = Listing(
    "list_multipart_uploads", {"KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker"}
)
VERSIONS = Listing(
    "list_object_versions", {"KeyMarker": "NextKeyMarker", "VersionIdMarker": "NextVersionIdMarker"}
)
