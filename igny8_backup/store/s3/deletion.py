"""Delete many objects of a bucket with one request (``DeleteObjects``)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

from igny8_backup.errors import StorageError
from igny8_backup.store.objects import UnreachableError
from igny8_backup.store.s3.requests.bucket import ANY_CALL, Bucket

LARGEST_GROUP = 1000
"""The largest number of keys in a request. Source: Amazon S3 API Reference, "DeleteObjects"."""


class GroupDeletion:
    """Deletes objects of ``bucket`` in groups, until the server refuses a request for a group.

    The S3 interface of Google, and some other servers, do not know ``DeleteObjects``.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._refused = False

    def groups(self, keys: Collection[str]) -> Iterator[list[str]]:
        """Yield the ``keys`` in groups, each for one request."""
        remaining = iter(keys)
        while some := list(islice(remaining, LARGEST_GROUP)):
            yield some

    def delete(self, keys: list[str]) -> list[str]:
        """Delete a group of objects; return the keys of the objects that the server did not delete.

        The caller has to delete these one by one. Raises ``UnreachableError``.
        """
        if self._refused or len(keys) < 2:
            return keys
        given = {name: value for name, value in self._bucket.parameters("").items() if name in ANY_CALL}
        given["Delete"] = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        try:
            answer = self._bucket.request("delete objects from", "delete_objects", **given)
        except UnreachableError:
            raise
        except StorageError:
            self._refused = True
            return keys
        failed = (entry for entry in answer.get("Errors", ()) if entry.get("Code") != "NoSuchKey")
        return [entry["Key"] for entry in failed]
