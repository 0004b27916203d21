"""Pages of listings are parsed without botocore's parser of times, with the same result."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from igny8_backup.store.s3.requests.objects_page import take_contents

SPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
TIME = datetime(2026, 9, 1, 2, tzinfo=UTC)


def entry(modified: str = "2026-09-01T02:00:00.000Z", size: str = "5") -> str:
    return (
        f"<Contents><Key>a%20b</Key><LastModified>{modified}</LastModified><ETag>&quot;0f&quot;</ETag>"
        f"<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


def page(content: str, root: str = "ListBucketResult", space: str = SPACE) -> bytes:
    return f"<{root}{space}><IsTruncated>true</IsTruncated>{content}<Prefix>x</Prefix></{root}>".encode()


def taken(body: bytes, status: int = 200) -> tuple[bytes, dict[str, Any]]:
    answer: dict[str, Any] = {"body": body, "status_code": status}
    found: dict[str, Any] = {}
    take_contents(answer, found)
    return answer["body"], found


@pytest.mark.parametrize("space", [SPACE, ""])
@pytest.mark.parametrize("modified", ["2026-09-01T02:00:00.000Z", "2026-09-01T04:00:00+02:00"])
def test_objects_are_taken_from_a_page(space: str, modified: str) -> None:
    body, found = taken(page(entry(modified) * 2, space=space))
    assert found == {"Contents": [{"Key": "a%20b", "LastModified": TIME, "ETag": '"0f"', "Size": 5}] * 2}
    assert b"Contents" not in body and b"Prefix" in body and b"IsTruncated" in body


@pytest.mark.parametrize(
    "body",
    [
        page(""),
        page(entry(), root="Error"),
        page(entry(size="many")),
        page(entry(modified="yesterday's")),
        page("<Contents/>"),
        page(entry())[:-9],
        b"",
    ],
)
def test_other_answers_are_left_to_botocore(body: bytes) -> None:
    assert taken(body) == (body, {})


def test_page_with_an_error_status_is_left_to_botocore() -> None:
    assert taken(page(entry()), status=500) == (page(entry()), {})
