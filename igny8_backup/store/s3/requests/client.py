"""The boto3 client of a storage, with this package's limits on the time of connections."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from botocore.config import Config

from igny8_backup.store.s3.requests.objects_page import parse_pages_fast

if TYPE_CHECKING:
    from igny8_backup.store.s3 import S3Storage

DEFAULTS = Config(
    connect_timeout=10, read_timeout=60, retries={"total_max_attempts": 1}, max_pool_connections=20
)
"""Limits of a connection in seconds, and the number of connections that are kept, which boto3 sets to ten.

``Retry`` repeats requests and reports it; boto3 would repeat them silently and give up after a few
seconds.
"""

_clients: WeakKeyDictionary[S3Storage, Any] = WeakKeyDictionary()


def client_of(storage: S3Storage) -> Any:
    """Return the client for the storage. The same client is returned by every later call.

    Settings in ``client_config`` take precedence over ``DEFAULTS``. The storage itself keeps its own
    connection. Raises the errors of boto3 for invalid settings.
    """
    if storage not in _clients:
        own = copy.copy(storage)  # without the connections of the original: see S3Storage.__getstate__
        own.client_config = DEFAULTS.merge(own.client_config)
        client = own.connection.meta.client
        client.meta.events.register("before-call.s3.HeadBucket", _without_redirect)
        parse_pages_fast(client)
        _clients[storage] = client
    return _clients[storage]


def _without_redirect(context: dict[str, Any], **given: Any) -> None:
    """Prevent boto3 from following a redirect of HeadBucket.

    After a redirect that does not name the region, boto3 sends HeadBucket to find the region. If the answer
    is the same redirect, boto3 sends HeadBucket again, until Python raises a ``RecursionError``.
    """
    context.setdefault("s3_redirect", {})["redirected"] = True
