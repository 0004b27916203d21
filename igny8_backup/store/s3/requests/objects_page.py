"""Parse the objects in a page of a listing many times as fast as botocore.

botocore parses each page twice as XML, and the time of each object with the package ``dateutil``. With
100,000 objects that takes longer than the requests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from xml.sax.saxutils import unescape

from botocore.utils import parse_timestamp

OPERATION = "ListObjectsV2"

_PAGE = re.compile(r"\s*(<\?xml[^<>]*>)?\s*<ListBucketResult[\s>].*</ListBucketResult>\s*", re.DOTALL)
_TEXT = r"<{0}>([^<]*)</{0}>\s*"
_UNUSED = (
    r"(?:<(?:ChecksumAlgorithm|ChecksumType|Generation|MetaGeneration|StorageClass|Type)>[^<]*</\w+>\s*"
    r"|<Owner>\s*(?:<(?:ID|DisplayName)>[^<]*</\w+>\s*)*</Owner>\s*)*"
)
_OBJECT = re.compile(
    r"\s*".join(("<Contents>", *(_UNUSED + _TEXT.format(name) for name in ("Key", "LastModified", "ETag"))))
    + _UNUSED
    + r"<Size>(\d+)</Size>\s*"
    + _UNUSED
    + "</Contents>"
)
"""An object as servers write it: the fields are in the order of S3, and without comments and the like."""


def parse_pages_fast(client: Any) -> None:
    """Make ``client`` parse the pages of ``list_objects_v2`` with :func:`take_contents`."""
    # With a wildcard in this place it is called before botocore's own handler, which parses the whole body.
    client.meta.events.register(f"before-parse.*.{OPERATION}", take_contents)


def take_contents(
    response_dict: dict[str, Any],
    customized_response_dict: dict[str, Any],
    **given: Any,
) -> None:
    """Move the objects from the body of an answer to ``Contents``; botocore parses the rest of the body.

    The arguments are those of the event of botocore. An answer that is no page, or has other fields than
    expected, is not changed.
    """
    if response_dict["status_code"] != 200:
        return
    try:
        text = response_dict["body"].decode("ascii")
        if "<!" in text or "&#" in text or not _PAGE.fullmatch(text):
            return
        rest, *fields = _OBJECT.split(text)
        found = list(_objects(fields))
    except ValueError:
        return
    rest += "".join(fields[4::5])
    if found and "<Contents" not in rest:
        response_dict["body"] = rest.encode()
        customized_response_dict["Contents"] = found


def _objects(fields: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the fields of each object that a listing uses. Raises ``ValueError``.

    ``fields`` are the groups of ``_OBJECT`` in each object, and the text behind it.
    """
    for key, modified, etag, size in zip(fields[::5], fields[1::5], fields[2::5], fields[3::5], strict=True):
        yield {
            "Key": _unescaped(key) if "&" in key else key,
            "Size": int(size),
            "LastModified": _time(modified),
            "ETag": _unescaped(etag) if "&" in etag else etag,
        }


def _unescaped(text: str) -> str:
    return unescape(text, {"&quot;": '"', "&apos;": "'"})


@lru_cache(maxsize=4096)
def _time(text: str) -> datetime:
    if text.endswith("Z"):  # as in 2026-09-01T02:00:00.000Z
        return datetime.fromisoformat(text)
    parsed: datetime = parse_timestamp(text)
    return parsed
