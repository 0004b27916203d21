"""The S3 server of ``benchmarks.sink`` answers boto3, and notices what it has not received."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from benchmarks.measure import RunFailed
from benchmarks.sink import check_sizes, throughput
from benchmarks.sink_server import BUCKET, KEPT, SinkS3

PART = 5 << 20


@pytest.fixture
def sink() -> Iterator[SinkS3]:
    with SinkS3() as server:
        yield server


@pytest.fixture
def client(sink: SinkS3) -> Iterator[Any]:
    made = boto3.client(
        "s3",
        endpoint_url=sink.endpoint,
        region_name="us-east-1",
        aws_access_key_id="anybody",
        aws_secret_access_key="of no use elsewhere",
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )
    yield made
    made.close()


def upload(client: Any, key: str, parts: list[bytes]) -> None:
    begun = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    given = {"Bucket": BUCKET, "Key": key, "UploadId": begun}
    done = [
        {"PartNumber": number, "ETag": client.upload_part(**given, PartNumber=number, Body=part)["ETag"]}
        for number, part in reversed(list(enumerate(parts, 1)))
    ]
    client.complete_multipart_upload(**given, MultipartUpload={"Parts": done[::-1]})


def test_sink_keeps_small_objects_and_the_sizes_of_large_ones(sink: SinkS3, client: Any) -> None:
    client.put_object(Bucket=BUCKET, Key="a/small & new", Body=b"one")
    client.put_object(Bucket=BUCKET, Key="a/b/large", Body=bytes(KEPT + 1))
    upload(client, "a/c/parts", [bytes(PART), b"end"])
    found = client.get_object(Bucket=BUCKET, Key="a/small & new")
    assert found["Body"].read() == b"one"
    assert client.head_object(Bucket=BUCKET, Key="a/c/parts")["ContentLength"] == PART + 3
    assert sink.objects["a/b/large"].size == KEPT + 1 and sink.objects["a/b/large"].data is None
    with pytest.raises(ClientError, match="InvalidObjectState"):
        client.get_object(Bucket=BUCKET, Key="a/b/large")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        client.put_object(Bucket=BUCKET, Key="a/small & new", Body=b"two", IfNoneMatch="*")
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix="a/", Delimiter="/")
    assert [item["Key"] for item in listed["Contents"]] == ["a/small & new"]
    assert [item["Prefix"] for item in listed["CommonPrefixes"]] == ["a/b/", "a/c/"]
    client.delete_object(Bucket=BUCKET, Key="a/small & new")
    assert len(client.list_objects_v2(Bucket=BUCKET)["Contents"]) == 2
    with pytest.raises(ClientError, match="NoSuchKey"):
        client.get_object(Bucket=BUCKET, Key="a/small & new")


def test_sink_keeps_everything_in_a_folder(sink: SinkS3, client: Any, tmp_path: Path) -> None:
    sink.empty(tmp_path)
    parts = [b"a" * PART, b"b" * PART, b"end"]
    upload(client, "x/parts", parts)
    client.put_object(Bucket=BUCKET, Key="x/one", Body=b"one")
    assert (tmp_path / "x/parts").read_bytes() == b"".join(parts)
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["one", "parts"]


def test_throughput_is_of_bytes_that_arrived(sink: SinkS3) -> None:
    assert throughput(sink, 2) > 0
    assert sink.received == 4 * (8 << 20)


def test_sizes_that_differ_from_the_manifest_are_noticed(sink: SinkS3, client: Any) -> None:
    pack = {"key": "packs/web-1/sites/one-0001.tar", "stored_bytes": 3}
    body = json.dumps({"trees": [{"packs": [pack]}]}).encode()
    client.put_object(Bucket=BUCKET, Key="igny8/backups/one/manifest.json", Body=body)
    with pytest.raises(RunFailed, match="has not received 3 bytes"):
        check_sizes(sink)
    client.put_object(Bucket=BUCKET, Key=f"igny8/{pack['key']}", Body=b"ab")
    with pytest.raises(RunFailed, match="has not received 3 bytes"):
        check_sizes(sink)
    client.put_object(Bucket=BUCKET, Key=f"igny8/{pack['key']}", Body=b"abc")
    assert check_sizes(sink) == 3 + len(body)
