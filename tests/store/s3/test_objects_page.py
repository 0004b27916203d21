"""Pages of listings are parsed without botocore's parser of times, with the same result."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from igny8_backup.store.s3.requests.objects_page import OPERATION, parse_pages_fast, take_contents

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


OTHERS = "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><Owner><ID>1</ID></Owner><Type>Normal</Type>"


@pytest.mark.parametrize(
    "change",
    [
        ("<Size>", f"{OTHERS}<Size>"),
        ("</Contents>", f"{OTHERS}</Contents>"),
        ("><", ">\n  <"),
        ("<Key>", f"{OTHERS}<Key>"),
    ],
)
def test_objects_with_fields_that_are_not_used_are_taken(change: tuple[str, str]) -> None:
    _, found = taken(page(entry().replace(*change)))
    assert found == {"Contents": [{"Key": "a%20b", "LastModified": TIME, "ETag": '"0f"', "Size": 5}]}


def test_entities_in_keys_are_decoded_once() -> None:
    _, found = taken(page(entry().replace("a%20b", "a&amp;lt;&gt;")))
    assert found["Contents"][0]["Key"] == "a&lt;>"


@pytest.mark.parametrize(
    "body",
    [
        page(""),
        page(entry(), root="Error"),
        page(entry(size="many")),
        page(entry(modified="yesterday's")),
        page("<Contents/>"),
        page(entry() + "<Contents/>"),
        page(entry().replace("a%20b", "a&#32;b")),
        page(entry().replace("a%20b", "<![CDATA[a]]>")),
        page(entry().replace("a%20b", "ä")),
        page(entry())[:-9],
        b"",
    ],
)
def test_other_answers_are_left_to_botocore(body: bytes) -> None:
    assert taken(body) == (body, {})


def test_page_with_an_error_status_is_left_to_botocore() -> None:
    assert taken(page(entry()), status=500) == (page(entry()), {})


def test_botocore_parses_what_is_left_of_a_page_only() -> None:
    client: Any = boto3.client("s3", region_name="x", aws_access_key_id="x", aws_secret_access_key="x")
    parse_pages_fast(client)
    seen = []
    client.meta.events.register_first(
        "before-parse.s3.*", lambda response_dict, **given: seen.append(response_dict["body"])
    )
    for operation in (OPERATION, "ListObjects"):
        client.meta.events.emit(
            f"before-parse.s3.{operation}",
            operation_model=client.meta.service_model.operation_model(operation),
            response_dict={"body": page(entry()), "status_code": 200, "headers": {}},
            customized_response_dict={},
        )
    assert seen == [page(""), page(entry())]
