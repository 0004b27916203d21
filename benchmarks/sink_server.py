"""A server for S3 that reads what it is sent and discards it: it costs a backup as little as a server can.

It knows the requests of a backup to an empty bucket, and checks no signatures. Small objects are kept in
memory, because backups read them; of the others only the size is known.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from benchmarks.s3_answers import BUCKET, PIECE, Object, S3Handler, S3Server, element

__all__ = ["BUCKET", "KEPT", "SinkS3"]

KEPT = 1 << 20
"""Objects of at most this many bytes are kept."""
_CHECKSUM = "x-amz-checksum-crc32"


class SinkS3(S3Server):
    """The server on 127.0.0.1, as a context manager. In ``folder``, if set, it keeps all objects as files."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.folder: Path | None = None
        self.uploads: dict[str, dict[int, int]] = {}
        self.received = 0

    def empty(self, folder: Path | None = None) -> None:
        """Forget all objects; keep the next ones in ``folder``, if it is given."""
        with self.lock:
            self.objects.clear()
            self.uploads.clear()
            self.received = 0
            self.folder = folder


class _Handler(S3Handler):
    server: SinkS3

    def do_PUT(self) -> None:  # noqa: N802 - the name that http.server calls
        if self.refuse_chunks():
            return
        size, part = int(self.headers.get("Content-Length", 0)), int(self.query.get("partNumber", 0))
        data = self._read(size, part)
        with self.server.lock:
            if part:
                self.server.uploads[self.query["uploadId"]][part] = size
            elif self.headers.get("If-None-Match") == "*" and self.key in self.server.objects:
                return self.error(412, "PreconditionFailed")
            made = Object(size, f'"{secrets.token_hex(8)}"', data)
            if not part:
                self.server.objects[self.key] = made
        checksum = self.headers.get(_CHECKSUM)
        # A client compares the checksum with its bytes, as it does with one from S3.
        self.answer(headers={"ETag": made.etag, **({_CHECKSUM: checksum} if checksum else {})})

    def do_POST(self) -> None:  # noqa: N802
        self.read_body()
        if "uploads" in self.query:
            upload_id = secrets.token_hex(16)
            with self.server.lock:
                self.server.uploads[upload_id] = {}
            return self.xml("InitiateMultipartUploadResult", element("UploadId", upload_id))
        if "uploadId" not in self.query:
            return self.error(501, "NotImplemented")
        with self.server.lock:
            parts = self.server.uploads.pop(self.query["uploadId"])
            made = Object(sum(parts.values()), f'"{secrets.token_hex(8)}-{len(parts)}"', None)
            self.server.objects[self.key] = made
        self._join(sorted(parts))
        self.xml("CompleteMultipartUploadResult", element("ETag", made.etag))

    def do_GET(self) -> None:  # noqa: N802
        if not self.key:
            return self._about_bucket()
        found = self.server.objects.get(self.key)
        if found is None:
            return self.error(404, "NoSuchKey")
        if found.data is None:
            return self.error(403, "InvalidObjectState")
        self.answer(found.data, headers=found.headers())

    def do_HEAD(self) -> None:  # noqa: N802
        found = self.server.objects.get(self.key)
        if self.key and found is None:
            return self.answer(status=404)
        headers = found.headers() | {"Content-Length": str(found.size)} if found else {}
        self.answer(headers=headers)

    def do_DELETE(self) -> None:  # noqa: N802
        with self.server.lock:
            self.server.uploads.pop(self.query.get("uploadId", ""), None)
            if "uploadId" not in self.query:
                self.server.objects.pop(self.key, None)
        self.answer(status=204)

    def _about_bucket(self) -> None:
        if "list-type" in self.query:
            return self.xml("ListBucketResult", "".join(self._listing()))
        if "uploads" in self.query:
            return self.xml("ListMultipartUploadsResult", element("IsTruncated", "false"))
        if "versioning" in self.query:
            return self.xml("VersioningConfiguration", "")
        self.error(501, "NotImplemented")

    def _listing(self) -> Iterator[str]:
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        folders = set[str]()
        yield element("IsTruncated", "false")
        with self.server.lock:
            found = sorted(item for item in self.server.objects.items() if item[0].startswith(prefix))
        for key, item in found:
            folder, inside, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if inside:
                folders.add(f"{prefix}{folder}{delimiter}")
                continue
            yield item.entry(key)
        for name in sorted(folders):
            yield f"<CommonPrefixes>{element('Prefix', name)}</CommonPrefixes>"

    def _read(self, size: int, part: int) -> bytes | None:
        """Read a body of ``size`` bytes; return it if it is kept in memory."""
        kept = bytearray() if size <= KEPT and not part else None
        with ExitStack() as stack:
            file: BinaryIO | None = None
            if self.server.folder:
                path = self._path(part)
                path.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(path.open("wb"))
            piece = memoryview(bytearray(min(size, PIECE)))
            while size:
                count = self.rfile.readinto(piece[: min(size, PIECE)])
                if not count:
                    raise ConnectionError("The client closed the connection in the middle of a body.")
                size -= count
                self.server.received += count
                if kept is not None:
                    kept += piece[:count]
                if file:
                    file.write(piece[:count])
        return None if kept is None else bytes(kept)

    def _path(self, part: int = 0) -> Path:
        if self.server.folder is None:
            raise RuntimeError("The sink keeps no files.")
        return self.server.folder / (f"{self.key}.part-{part}" if part else self.key)

    def _join(self, parts: list[int]) -> None:
        if self.server.folder is None:
            return
        with self._path().open("wb") as whole:
            for part in parts:
                whole.write(self._path(part).read_bytes())
                self._path(part).unlink()
