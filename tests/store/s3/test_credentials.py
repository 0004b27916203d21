"""Credentials of S3 that expire during a run are asked for again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from igny8_backup.streams.pipeline import from_bytes
from tests.services.s3 import RcloneS3
from tests.store.conftest import OpenStore

# The role of a machine or container works like this program: boto3 asks when its credentials nearly expire.
PROGRAM = """
import datetime, json, pathlib, sys
pathlib.Path(sys.argv[1]).open("a").write("asked\\n")
now = datetime.datetime.now(datetime.timezone.utc)
print(json.dumps({**json.loads(sys.argv[2]), "Version": 1,
                  "Expiration": (now + datetime.timedelta(minutes=1)).isoformat()}))
"""


def test_s3_store_asks_for_expiring_credentials_again(
    s3_server: RcloneS3, open_s3: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, asked, config = tmp_path / "program.py", tmp_path / "asked", tmp_path / "config"
    program.write_text(PROGRAM)
    keys = {"AccessKeyId": s3_server.access_key, "SecretAccessKey": s3_server.secret_key}
    quoted = json.dumps(json.dumps(keys))
    config.write_text(
        f"[profile rotating]\ncredential_process = {sys.executable} {program} {asked} {quoted}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    store = open_s3(access_key=None, secret_key=None, session_profile="rotating")
    counts = []
    for number in range(3):
        store.put(f"object-{number}", from_bytes(b"content"))
        counts.append(len(asked.read_text().splitlines()))
    assert counts[0] < counts[1] < counts[2], "a client with frozen credentials would ask once"
