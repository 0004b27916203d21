"""A backup whose dump is another one, and all else of it is valid."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path


def put_dump(storage: Path, into: str, of: str) -> None:
    """The dump of backup ``of`` takes the place of the one of ``into``, whose manifest tells its digest."""
    home = storage / "igny8/backups"
    path = home / into / "manifest.json"
    manifest, other = (json.loads((home / name / "manifest.json").read_bytes()) for name in (into, of))
    item, found = (one["databases"][0]["object"] for one in (manifest, other))
    shutil.copyfile(storage / "igny8" / found["key"], storage / "igny8" / item["key"])
    item |= {key: found[key] for key in ("sha256", "stored_bytes", "raw_bytes")}
    path.write_text(json.dumps(manifest))
    (storage / f"igny8/runs/{into}.json").unlink()  # it knows the digest of the manifest


def date_later(storage: Path, backup_id: str) -> None:
    """The dump of the backup is an hour older than the manifest says."""
    path = storage / f"igny8/backups/{backup_id}/manifest.json"
    manifest = json.loads(path.read_bytes())
    for key in ("started", "finished"):
        moment = datetime.fromisoformat(manifest["databases"][0][key]) + timedelta(hours=1)
        manifest["databases"][0][key] = moment.isoformat()
    path.write_text(json.dumps(manifest))
