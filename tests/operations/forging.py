"""Forge backups: replace or cut a dump, and keep everything else valid."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path

from igny8_backup.streams.age import load_identities
from igny8_backup.streams.pipeline import Codec, decode, from_bytes


def cut_dump(storage: Path, backup_id: str, identity: Path, recipient: str) -> None:
    """Cut the dump in half before encryption, so that manifest and encryption are valid."""
    path = storage / f"igny8/backups/{backup_id}/manifest.json"
    manifest = json.loads(path.read_bytes())
    item = manifest["databases"][0]["object"]
    stored = storage / "igny8" / item["key"]
    raw = b"".join(decode(from_bytes(stored.read_bytes()), item["codecs"], load_identities(identity)))
    raw = raw[: len(raw) // 2]
    data = b"".join(Codec(level=1, recipients=(recipient,)).encode(from_bytes(raw)))
    stored.write_bytes(data)
    item |= {"sha256": hashlib.sha256(data).hexdigest(), "stored_bytes": len(data), "raw_bytes": len(raw)}
    path.write_text(json.dumps(manifest))
    (storage / f"igny8/runs/{backup_id}.json").unlink()  # it contains the digest of the manifest


def put_dump(storage: Path, into: str, of: str) -> None:
    """Replace the dump of backup ``into`` with that of backup ``of``, and adapt its manifest."""
    home = storage / "igny8/backups"
    path = home / into / "manifest.json"
    manifest, other = (json.loads((home / name / "manifest.json").read_bytes()) for name in (into, of))
    item, found = (one["databases"][0]["object"] for one in (manifest, other))
    shutil.copyfile(storage / "igny8" / found["key"], storage / "igny8" / item["key"])
    item |= {key: found[key] for key in ("sha256", "stored_bytes", "raw_bytes")}
    path.write_text(json.dumps(manifest))
    (storage / f"igny8/runs/{into}.json").unlink()  # it contains the digest of the manifest


def date_later(storage: Path, backup_id: str) -> None:
    """Make the manifest say that the backup ran an hour after its dump was made."""
    path = storage / f"igny8/backups/{backup_id}/manifest.json"
    manifest = json.loads(path.read_bytes())
    for key in ("started", "finished"):
        moment = datetime.fromisoformat(manifest["databases"][0][key]) + timedelta(hours=1)
        manifest["databases"][0][key] = moment.isoformat()
    path.write_text(json.dumps(manifest))
