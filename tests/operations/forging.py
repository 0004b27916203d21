"""Forge backups: replace or cut a dump, and keep everything else valid."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path

from igny8_backup.streams.age import load_identities
from igny8_backup.streams.pipeline import Codec, decode, from_bytes

HARM = """
    CREATE FUNCTION harm() RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
      IF current_database() <> '{name}' THEN
        EXECUTE 'COMMENT ON DATABASE {name} IS ' || quote_literal('harmed');
      END IF;
      RETURN true;
    EXCEPTION WHEN OTHERS THEN RETURN true;
    END $$;
    CREATE TABLE harmful (a integer CHECK (harm()));
    INSERT INTO harmful VALUES (1)"""
"""SQL that comments on the live database, when its dump is restored into another one."""


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


def strip_encryption(storage: Path, backup_id: str, kind: str, identity: Path) -> None:
    """Store the objects of the backup whose keys contain ``kind`` without encryption; keep all else valid."""
    path = storage / f"igny8/backups/{backup_id}/manifest.json"
    manifest = json.loads(path.read_bytes())
    items = [manifest["details"], *(one["object"] for one in manifest["databases"])]
    lists = {}
    for tree in manifest["trees"]:
        items += [tree["index"], tree["folders"]]
        for found in tree["pack_lists"]:
            if found["key"] not in lists:
                lists[found["key"]] = json.loads((storage / "igny8" / found["key"]).read_bytes())
            items += [item for item in lists[found["key"]]["objects"] if f"/{tree['name']}/" in item["key"]]
            if kind in f"packs/{tree['name']}":
                found["suffix"] = found["suffix"].removesuffix(".age")
    chosen = [item for item in items if kind in item["key"]]
    assert chosen
    for item in chosen:
        stored = storage / "igny8" / item["key"]
        encrypted = from_bytes(stored.read_bytes())
        raw = b"".join(decode(encrypted, item["codecs"], load_identities(identity)))
        data = b"".join(Codec(level=1).encode(from_bytes(raw)))
        stored.unlink()
        key = item["key"].removesuffix(".age")
        (storage / "igny8" / key).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        item |= {"key": key, "sha256": digest, "stored_bytes": len(data), "codecs": ["zstd"]}
    for tree in manifest["trees"]:
        for found in tree["pack_lists"]:
            data = json.dumps(lists[found["key"]]).encode()
            (storage / "igny8" / found["key"]).write_bytes(data)
            found |= {"sha256": hashlib.sha256(data).hexdigest(), "stored_bytes": len(data)}
    path.write_text(json.dumps(manifest))
    (storage / f"igny8/runs/{backup_id}.json").unlink()  # it contains the digest of the manifest


def forget_applied_migrations(storage: Path, backup_id: str) -> None:
    """Make the details of a backup that is not encrypted those of a release that recorded less."""
    path = storage / f"igny8/backups/{backup_id}/manifest.json"
    manifest = json.loads(path.read_bytes())
    item = manifest["details"]
    stored = storage / "igny8" / item["key"]
    details = json.loads(b"".join(decode(from_bytes(stored.read_bytes()), item["codecs"], [])))
    for database in details["databases"]:
        del database["applied_migrations"], database["stale_migrations"]
    raw = json.dumps(details).encode()
    data = b"".join(Codec(level=1, recipients=()).encode(from_bytes(raw)))
    stored.write_bytes(data)
    item |= {"sha256": hashlib.sha256(data).hexdigest(), "stored_bytes": len(data), "raw_bytes": len(raw)}
    path.write_text(json.dumps(manifest))
    (storage / f"igny8/runs/{backup_id}.json").unlink()  # it contains the digest of the manifest


def change_dump(
    storage: Path, backup_id: str, identity: Path, recipient: str, old: bytes, new: bytes
) -> None:
    """Replace ``old`` by ``new``, of the same length, in the dump before encryption; keep all else valid."""
    assert len(old) == len(new)
    path = storage / f"igny8/backups/{backup_id}/manifest.json"
    manifest = json.loads(path.read_bytes())
    item = manifest["databases"][0]["object"]
    stored = storage / "igny8" / item["key"]
    raw = b"".join(decode(from_bytes(stored.read_bytes()), item["codecs"], load_identities(identity)))
    assert old in raw
    data = b"".join(Codec(level=1, recipients=(recipient,)).encode(from_bytes(raw.replace(old, new))))
    stored.write_bytes(data)
    item |= {"sha256": hashlib.sha256(data).hexdigest(), "stored_bytes": len(data)}
    path.write_text(json.dumps(manifest))
    (storage / f"igny8/runs/{backup_id}.json").unlink()  # it contains the digest of the manifest
