"""The pages of S3 listings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
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


def contents(page: dict[str, Any], top: str = "") -> Iterator[Stored]:
    """Yield the objects in a page of ``OBJECTS``, without those that other tools create as folders.

    ``top`` is removed from the start of the keys. The tag of an object is its ETag and the time of writing,
    in case a server gives the same ETag twice.
    """
    for entry in page.get("Contents", ()):
        if not entry["Key"].endswith("/"):
            modified, text = _written(entry["LastModified"])
            tag = f"{entry['ETag']} {text}" if entry.get("ETag") else ""
            yield Stored(entry["Key"].removeprefix(top), entry["Size"], modified, tag)


def in_order(page: dict[str, Any], after: str, top: str) -> tuple[list[Stored], str] | None:
    """Return the objects in a page of ``OBJECTS``, and the key after which the next page begins.

    This key is empty if there are no more pages. ``None``: the keys in the page are not sorted, or not all
    are greater than ``after``, the key after which the page was requested. All keys are relative to ``top``.
    """
    keys = [top + after, *(entry["Key"] for entry in page.get("Contents", ()))]
    truncated = page.get("IsTruncated", False)
    if not all(one < other for one, other in pairwise(keys)) or (truncated and len(keys) == 1):
        return None
    return list(contents(page, top)), keys[-1].removeprefix(top) if truncated else ""


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
