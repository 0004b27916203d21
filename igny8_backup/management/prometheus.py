"""Write the result of monitoring as metrics for the textfile collector of the Prometheus node exporter.

The format is "Text-based format" in "Exposition formats" of the Prometheus documentation.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from igny8_backup.common.filesystem import require_replaceable
from igny8_backup.errors import FilesError
from igny8_backup.operations.monitor.health import Health

Sample = tuple[dict[str, str], float]


def text_of(health: Health) -> str:
    """Return the metrics as text. Times are in seconds since 1970, sizes in bytes."""
    conditions = [({"condition": item.name, "of": item.of}, float(item.ok)) for item in health.conditions]
    started, sizes, verified, drilled = [], [], [], []
    for item in health.newest:
        labels = {"host": item.part.host, "kind": item.part.kind, "name": item.part.name}
        started.append((labels, item.started.timestamp()))
        sizes.append((labels, float(item.bytes)))
        verified += [(labels, item.verified.timestamp())] if item.verified else []
        drilled += [(labels, item.drilled.timestamp())] if item.drilled else []
    families = (
        _family("healthy", "Whether every condition is met.", _sample(not health.failed)),
        _family("condition_ok", "Whether one condition is met.", conditions),
        _family(
            "newest_timestamp_seconds", "When the newest good backup of a database or tree began.", started
        ),
        _family(
            "newest_bytes", "The uncompressed size of the newest good backup of a database or tree.", sizes
        ),
        _family(
            "part_verified_timestamp_seconds", "When the newest check of a database or tree began.", verified
        ),
        _family(
            "part_drilled_timestamp_seconds",
            "When the newest good drill of a database or tree began.",
            drilled,
        ),
        _family("backups", "The number of backups.", _sample(health.backups)),
        _family("stored_bytes", "The total size of the stored objects.", _sample(health.stored_bytes)),
        _family("verified_timestamp_seconds", "When the newest verification began.", _sample(health.checked)),
        _family("monitored_timestamp_seconds", "When these metrics were collected.", _sample(health.now)),
    )
    return "".join(families)


def write_metrics(path: Path, health: Health) -> None:
    """Replace the file at ``path`` atomically with the metrics. Raises ``FilesError`` if that fails.

    Everybody may read the file, because the collector runs as another user.
    """
    partial = ""
    try:
        require_replaceable(path)
        # A name that ends with .prom would let the collector read a half-written file.
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text_of(health))
            os.fchmod(file.fileno(), 0o644)
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(partial)
        raise FilesError(
            f"The metrics cannot be written to {path}: {error.strerror}.",
            unchanged="The previous file, if any, was not changed.",
            hint="Remove that cause, or give --prometheus a file in a folder that this user may write.",
        ) from None


def _family(name: str, text: str, samples: Iterable[Sample]) -> str:
    name = f"igny8_backup_{name}"
    lines = [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
    for labels, value in samples:
        given = ",".join(f'{label}="{_escaped(word)}"' for label, word in labels.items())
        lines.append(f"{name}{{{given}}} {value!r}" if given else f"{name} {value!r}")
    return "\n".join(lines) + "\n"


def _sample(value: float | datetime | None) -> list[Sample]:
    """Return one sample without labels, or none if the value is unknown."""
    if value is None:
        return []
    return [({}, value.timestamp() if isinstance(value, datetime) else float(value))]


def _escaped(word: str) -> str:
    return word.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
