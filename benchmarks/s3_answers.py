"""What the S3 servers of the benchmarks share: the server, and how a handler reads requests and answers them.

They check no signatures, and have one bucket.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from botocore.config import Config

BUCKET = "backups"
REGION = "us-east-1"
ACCESS_KEY, SECRET_KEY = "anybody", "of no use elsewhere"
PIECE = 1 << 20


@dataclass
class Object:
    """A stored object. ``data`` is ``None`` if it was discarded."""

    size: int
    etag: str
    data: bytes | None
    modified: datetime = field(default_factory=lambda: datetime.now(UTC))

    def headers(self) -> dict[str, str]:
        """Return the headers that describe the object in the answer to GET and HEAD."""
        return {"ETag": self.etag, "Last-Modified": format_datetime(self.modified, usegmt=True)}

    def entry(self, key: str) -> str:
        """Return the entry of the object in a listing, with ``key`` as it is to be shown."""
        modified = f"{self.modified:%Y-%m-%dT%H:%M:%S.000Z}"
        described = {"Key": key, "LastModified": modified, "ETag": self.etag, "Size": str(self.size)}
        return f"<Contents>{''.join(element(*pair) for pair in described.items())}</Contents>"


class S3Server(ThreadingHTTPServer):
    """A server on a free port of 127.0.0.1, as a context manager, with a thread for each connection."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, handler: type[S3Handler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.objects: dict[str, Object] = {}
        self.lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        """The URL to give to a client."""
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, name="s3-server", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()


class S3Handler(BaseHTTPRequestHandler):
    """Handles the requests of one connection. ``key`` is the object of the request, empty for the bucket."""

    protocol_version = "HTTP/1.1"
    wbufsize = PIECE  # a head and its body leave in one packet
    disable_nagle_algorithm = True
    key: str
    query: dict[str, str]

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

    def read_body(self) -> bytes:
        """Read all of a small body."""
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def refuse_chunks(self) -> bool:
        """Answer with an error, and return true, if the body has checksums between its pieces."""
        chunks = "aws-chunked" in self.headers.get("Content-Encoding", "")
        if chunks:
            self.close_connection = True
            self.error(501, "NotImplemented")
        return chunks

    def xml(self, root: str, content: str, status: int = 200) -> None:
        """Answer with an XML document."""
        self.answer(f"<{root}>{content}</{root}>".encode(), status=status)

    def error(self, status: int, code: str) -> None:
        """Answer with an error code of S3."""
        self.xml("Error", element("Code", code) + element("Message", code), status)

    def answer(self, body: bytes = b"", *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Answer with ``body``, which is left out if the request was HEAD."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def element(name: str, text: str) -> str:
    """Return an XML element that holds ``text``."""
    return f"<{name}>{escape(text)}</{name}>"


def storage_options(endpoint: str) -> dict[str, Any]:
    """Return OPTIONS of an ``S3Storage`` on the server at ``endpoint``."""
    return {
        "bucket_name": BUCKET,
        "endpoint_url": endpoint,
        "region_name": REGION,
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
        "client_config": Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    }
