"""A server for S3 that reads what it is sent and discards it: it costs a backup as little as a server can.

It knows the requests of a backup to an empty bucket, and checks no signatures. Small objects are kept in
memory, because backups read them; of the others only the size is known.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "backups"
KEPT = 1 << 20
"""Objects of at most this many bytes are kept."""
_PIECE = 1 << 20
_CHECKSUM = "x-amz-checksum-crc32"


@dataclass
class Object:
    """A stored object. ``data`` is ``None`` if it was discarded."""

    size: int
    etag: str
    data: bytes | None
    modified: datetime = field(default_factory=lambda: datetime.now(UTC))


class SinkS3(ThreadingHTTPServer):
    """The server on 127.0.0.1, as a context manager. In ``folder``, if set, it keeps all objects as files."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder: Path | None = None
        self.objects: dict[str, Object] = {}
        self.uploads: dict[str, dict[int, int]] = {}
        self.received = 0
        self.lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        """The URL to give to a client."""
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, name="sink", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()

    def empty(self, folder: Path | None = None) -> None:
        """Forget all objects; keep the next ones in ``folder``, if it is given."""
        with self.lock:
            self.objects.clear()
            self.uploads.clear()
            self.received = 0
            self.folder = folder


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = _PIECE  # a head and its body leave in one packet
    disable_nagle_algorithm = True
    server: SinkS3

    def log_message(self, format: str, *args: object) -> None: ...

    def handle_expect_100(self) -> bool:
        proceeds = super().handle_expect_100()
        self.wfile.flush()
        return proceeds

    def parse_request(self) -> bool:
        parsed = super().parse_request()
        if parsed:
            url = urlsplit(self.path)
            self.key = unquote(url.path).removeprefix(f"/{BUCKET}").removeprefix("/")
            self.query = {name: values[0] for name, values in parse_qs(url.query, True).items()}
        return parsed

    def do_PUT(self) -> None:  # noqa: N802 - the name that http.server calls
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):
            self.close_connection = True
            return self._error(501, "NotImplemented")
        size, part = int(self.headers.get("Content-Length", 0)), int(self.query.get("partNumber", 0))
        data = self._read(size, part)
        with self.server.lock:
            if part:
                self.server.uploads[self.query["uploadId"]][part] = size
            elif self.headers.get("If-None-Match") == "*" and self.key in self.server.objects:
                return self._error(412, "PreconditionFailed")
            made = Object(size, f'"{secrets.token_hex(8)}"', data)
            if not part:
                self.server.objects[self.key] = made
        checksum = self.headers.get(_CHECKSUM)
        # A client compares the checksum with its bytes, as it does with one from S3.
        self._answer(headers={"ETag": made.etag, **({_CHECKSUM: checksum} if checksum else {})})

    def do_POST(self) -> None:  # noqa: N802
        self._drain()
        if "uploads" in self.query:
            upload_id = secrets.token_hex(16)
            with self.server.lock:
                self.server.uploads[upload_id] = {}
            return self._xml("InitiateMultipartUploadResult", _element("UploadId", upload_id))
        if "uploadId" not in self.query:
            return self._error(501, "NotImplemented")
        with self.server.lock:
            parts = self.server.uploads.pop(self.query["uploadId"])
            made = Object(sum(parts.values()), f'"{secrets.token_hex(8)}-{len(parts)}"', None)
            self.server.objects[self.key] = made
        self._join(sorted(parts))
        self._xml("CompleteMultipartUploadResult", _element("ETag", made.etag))

    def do_GET(self) -> None:  # noqa: N802
        if not self.key:
            return self._about_bucket()
        found = self.server.objects.get(self.key)
        if found is None:
            return self._error(404, "NoSuchKey")
        if found.data is None:
            return self._error(403, "InvalidObjectState")
        self._answer(found.data, headers=_headers(found))

    def do_HEAD(self) -> None:  # noqa: N802
        found = self.server.objects.get(self.key)
        if self.key and found is None:
            return self._answer(status=404)
        headers = _headers(found) | {"Content-Length": str(found.size)} if found else {}
        self._answer(headers=headers)

    def do_DELETE(self) -> None:  # noqa: N802
        with self.server.lock:
            self.server.uploads.pop(self.query.get("uploadId", ""), None)
            if "uploadId" not in self.query:
                self.server.objects.pop(self.key, None)
        self._answer(status=204)

    def _about_bucket(self) -> None:
        if "list-type" in self.query:
            return self._xml("ListBucketResult", "".join(self._listing()))
        if "uploads" in self.query:
            return self._xml("ListMultipartUploadsResult", _element("IsTruncated", "false"))
        if "versioning" in self.query:
            return self._xml("VersioningConfiguration", "")
        self._error(501, "NotImplemented")

    def _listing(self) -> Iterator[str]:
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        folders = set[str]()
        yield _element("IsTruncated", "false")
        with self.server.lock:
            found = sorted(item for item in self.server.objects.items() if item[0].startswith(prefix))
        for key, item in found:
            folder, inside, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if inside:
                folders.add(f"{prefix}{folder}{delimiter}")
                continue
            described = {"Key": key, "Size": str(item.size), "ETag": item.etag}
            described["LastModified"] = f"{item.modified:%Y-%m-%dT%H:%M:%S.000Z}"
            yield f"<Contents>{''.join(_element(*pair) for pair in described.items())}</Contents>"
        for name in sorted(folders):
            yield f"<CommonPrefixes>{_element('Prefix', name)}</CommonPrefixes>"

    def _read(self, size: int, part: int) -> bytes | None:
        """Read a body of ``size`` bytes; return it if it is kept in memory."""
        kept = bytearray() if size <= KEPT and not part else None
        with ExitStack() as stack:
            file: BinaryIO | None = None
            if self.server.folder:
                path = self._path(part)
                path.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(path.open("wb"))
            piece = memoryview(bytearray(min(size, _PIECE)))
            while size:
                count = self.rfile.readinto(piece[: min(size, _PIECE)])
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

    def _drain(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _xml(self, root: str, content: str, status: int = 200) -> None:
        self._answer(f"<{root}>{content}</{root}>".encode(), status=status)

    def _error(self, status: int, code: str) -> None:
        self._xml("Error", _element("Code", code) + _element("Message", code), status)

    def _answer(self, body: bytes = b"", *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _headers(item: Object) -> dict[str, str]:
    return {"ETag": item.etag, "Last-Modified": format_datetime(item.modified, usegmt=True)}


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"
