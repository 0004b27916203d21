"""A server for S3 whose listings cost little, for storages with many small objects.

    python -m benchmarks.listing_server FOLDER [--latency MILLISECONDS]

It loads the files of a folder, and keeps objects in memory with their keys in order, so that a page of a
listing takes it about a millisecond. (``rclone serve s3`` walks through all files for each page.) It prints
its URL and answers until its standard input ends. It knows neither versions nor multipart uploads, and checks
no signatures. Each answer comes ``--latency`` later than it could, as from a distant server.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import md5
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote
from xml.etree import ElementTree

from benchmarks import ROOT
from benchmarks.s3_answers import REGION, Object, S3Handler, S3Server, element, storage_options

LATENCY = 30
"""Milliseconds from a request to its answer, as in a measurement of a distant storage."""
LARGEST_PAGE = 1000
_CHECKSUM = "x-amz-checksum-crc32"
_ABSENT = {
    "object-lock": "ObjectLockConfigurationNotFoundError",
    "lifecycle": "NoSuchLifecycleConfiguration",
    "policyStatus": "NoSuchBucketPolicy",
    "publicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
}
"""The error code for each configuration that the bucket does not have."""


class ListingS3(S3Server):
    """The server, as a context manager. It answers ``latency`` seconds later than it could."""

    def __init__(self, folder: Path, latency: float) -> None:
        super().__init__(_Handler)
        self.latency = latency
        self._entries: dict[str, str] = {}
        self._keys: list[str] = []
        for path in folder.rglob("*"):
            if path.is_file():
                modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                self._keep(str(path.relative_to(folder)), path.read_bytes(), modified)
        self._keys = sorted(self.objects)

    def put(self, key: str, data: bytes, *, replace: bool) -> Object | None:
        """Store an object. Returns ``None`` if the key exists and ``replace`` is false."""
        with self.lock:
            known = key in self.objects
            if known and not replace:
                return None
            if not known:
                insort(self._keys, key)
            return self._keep(key, data, datetime.now(UTC))

    def remove(self, key: str) -> None:
        """Remove an object, if it exists."""
        with self.lock:
            if self.objects.pop(key, None):
                del self._entries[key], self._keys[bisect_left(self._keys, key)]

    def page(
        self, prefix: str, delimiter: str, position: int, largest: int, *, encoded: bool
    ) -> tuple[list[str], str]:
        """Return the entries of a page of a listing, and the first key of the next page, empty at the end.

        ``position`` is that of the first key. Keys are ``encoded`` as in a URL if the client wants that. The
        caller holds ``lock``.
        """
        entries, folders = list[str](), list[str]()
        while position < len(self._keys) and (key := self._keys[position]).startswith(prefix):
            if len(entries) + len(folders) == largest:
                return entries + folders, key
            folder, inside, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if inside:
                name = f"{prefix}{folder}{delimiter}"
                position = bisect_left(self._keys, _after(name), position)
                shown = element("Prefix", quote(name) if encoded else name)
                folders.append(f"<CommonPrefixes>{shown}</CommonPrefixes>")
            else:
                position += 1
                entries.append(self._entries[key] if encoded else self.objects[key].entry(key))
        return entries + folders, ""

    def position(self, prefix: str, first: str, after: str) -> int:
        """Return the position of the first key with ``prefix``, from ``first`` on and behind ``after``."""
        return max(bisect_left(self._keys, max(prefix, first)), bisect_right(self._keys, after))

    def _keep(self, key: str, data: bytes, modified: datetime) -> Object:
        digest = md5(data, usedforsecurity=False).hexdigest()
        made = self.objects[key] = Object(len(data), f'"{digest}"', data, modified)
        self._entries[key] = made.entry(quote(key))
        return made


def _after(prefix: str) -> str:
    """Return the smallest text that is greater than all that begin with ``prefix``."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


class _Handler(S3Handler):
    server: ListingS3

    def do_PUT(self) -> None:  # noqa: N802 - the name that http.server calls
        if self.refuse_chunks():
            return
        data = self.read_body()
        if self.query or "x-amz-copy-source" in self.headers or not self.key:
            return self.error(501, "NotImplemented")
        made = self.server.put(self.key, data, replace=self.headers.get("If-None-Match") != "*")
        if made is None:
            return self.error(412, "PreconditionFailed")
        checksum = self.headers.get(_CHECKSUM)
        self.answer(headers={"ETag": made.etag, **({_CHECKSUM: checksum} if checksum else {})})

    def do_POST(self) -> None:  # noqa: N802
        body = self.read_body()
        if "delete" not in self.query:
            return self.error(501, "NotImplemented")
        request = ElementTree.fromstring(body)
        keys = [item.findtext("{*}Key", "") for item in request.iterfind("{*}Object")]
        for key in keys:
            self.server.remove(key)
        reported = [] if request.findtext("{*}Quiet") == "true" else keys
        self.xml("DeleteResult", "".join(f"<Deleted>{element('Key', key)}</Deleted>" for key in reported))

    def do_DELETE(self) -> None:  # noqa: N802
        self.server.remove(self.key)
        self.answer(status=204)

    def do_HEAD(self) -> None:  # noqa: N802
        found = self.server.objects.get(self.key)
        if not self.key:
            return self.answer(headers={"x-amz-bucket-region": REGION})
        if found is None:
            return self.answer(status=404)
        self.answer(headers=found.headers() | {"Content-Length": str(found.size)})

    def do_GET(self) -> None:  # noqa: N802
        if not self.key:
            return self._about_bucket()
        found = self.server.objects.get(self.key)
        if found is None or found.data is None:
            return self.error(404, "NoSuchKey")
        if self.headers.get("If-Match", found.etag).strip('"') != found.etag.strip('"'):
            return self.error(412, "PreconditionFailed")
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not wanted or not any(wanted.groups()):
            return self.answer(found.data, headers=found.headers())
        first, last = wanted.groups()
        start = int(first) if first else max(found.size - int(last), 0)
        end = min(int(last) + 1, found.size) if first and last else found.size
        if start >= end:
            return self.error(416, "InvalidRange")
        headers = found.headers() | {"Content-Range": f"bytes {start}-{end - 1}/{found.size}"}
        self.answer(found.data[start:end], status=206, headers=headers)

    def answer(self, body: bytes = b"", *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        time.sleep(self.server.latency)
        super().answer(body, status=status, headers=headers)

    def _about_bucket(self) -> None:
        if "list-type" in self.query:
            return self.xml("ListBucketResult", "".join(self._listing()))
        if "uploads" in self.query:
            return self.xml("ListMultipartUploadsResult", element("IsTruncated", "false"))
        if "versioning" in self.query:
            return self.xml("VersioningConfiguration", "")
        if "location" in self.query:
            return self.xml("LocationConstraint", "")
        absent = next((code for name, code in _ABSENT.items() if name in self.query), "")
        self.error(404 if absent else 501, absent or "NotImplemented")

    def _listing(self) -> Iterator[str]:
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        largest = min(int(self.query.get("max-keys", LARGEST_PAGE)), LARGEST_PAGE)
        first = urlsafe_b64decode(self.query.get("continuation-token", "")).decode()
        encoded = self.query.get("encoding-type") == "url"
        with self.server.lock:
            position = self.server.position(prefix, first, "" if first else self.query.get("start-after", ""))
            found, following = self.server.page(prefix, delimiter, position, largest, encoded=encoded)
        yield element("KeyCount", str(len(found)))
        yield element("IsTruncated", "true" if following else "false")
        if following:
            yield element("NextContinuationToken", urlsafe_b64encode(following.encode()).decode())
        if encoded:
            yield element("EncodingType", "url")
        yield from found


class ListingServer:
    """The server in a process of its own, as a context manager, with the files of ``folder`` as objects.

    ``latency`` is in milliseconds.
    """

    def __init__(self, folder: Path, latency: float = LATENCY) -> None:
        self._argv = [
            sys.executable,
            "-m",
            "benchmarks.listing_server",
            str(folder),
            "--latency",
            str(latency),
        ]
        self.endpoint = ""

    def options(self) -> dict[str, Any]:
        """Return OPTIONS of an ``S3Storage`` on the server."""
        return storage_options(self.endpoint)

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._argv, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        assert self._process.stdout is not None
        self.endpoint = self._process.stdout.readline().strip()
        if not self.endpoint:
            raise RuntimeError(f"The S3 server has ended with status {self._process.wait()}.")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()


def main() -> None:
    """Load a folder, print the URL of the server, and answer until the standard input ends."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("folder", type=Path, help="Its files are loaded as objects.")
    options.add_argument("--latency", type=float, default=LATENCY, help="Milliseconds for each answer.")
    given = options.parse_args()
    with ListingS3(given.folder, given.latency / 1000) as server:
        print(server.endpoint, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
