"""Write the result of monitoring as metrics for the textfile collector of the Prometheus node exporter.

The format is "Text-based format" in "Exposition formats" of the Prometheus documentation.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from igny8_backup.errors import FilesError
from igny8_backup.operations.maintain.monitor import Health

Sample = tuple[dict[str, str], float]


def text_of(health: Health) -> str:
    """Return the metrics as text. Times are in seconds since 1970, sizes in bytes."""
    parts = [
        ({"host": item.part.host, "kind": item.part.kind, "name": item.part.name}, item)
        for item in health.newest
    ]
    conditions = [({"condition": item.name, "of": item.of}, float(item.ok)) for item in health.conditions]
    families: list[tuple[str, str, Iterable[Sample]]] = [
        ("healthy", "Whether every condition is met.", [({}, float(not health.failed))]),
        ("condition_ok", "Whether one condition is met.", conditions),
        (
            "newest_timestamp_seconds",
            "When the newest complete backup of a part began.",
            [(labels, item.started.timestamp()) for labels, item in parts],
        ),
        (
            "newest_bytes",
            "The size of the newest complete backup of a part, before compression.",
            [(labels, float(item.bytes)) for labels, item in parts],
        ),
        ("backups", "The number of backups.", _sample(health.backups)),
        ("stored_bytes", "The total size of the stored objects.", _sample(health.stored_bytes)),
        (
            "verified_timestamp_seconds",
            "When the newest verification began.",
            _sample(health.checked.timestamp() if health.checked else None),
        ),
        ("monitored_timestamp_seconds", "When these metrics were collected.", [({}, health.now.timestamp())]),
    ]
    return "".join(_family(f"igny8_backup_{name}", text, samples) for name, text, samples in families)


def write_metrics(path: Path, health: Health) -> None:
    """Replace the file atomically. Everybody may read it, because the collector runs as another user.

    Raises ``FilesError``.
    """
    partial = ""
    try:
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
            hint="Give --prometheus a file in a folder that this user may write.",
        ) from None


def _family(name: str, text: str, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
    for labels, value in samples:
        given = ",".join(f'{label}="{_escaped(word)}"' for label, word in labels.items())
        lines.append(f"{name}{{{given}}} {value!r}" if given else f"{name} {value!r}")
    return "\n".join(lines) + "\n"


def _sample(value: float | None) -> list[Sample]:
    """Return one sample without labels, or none if the value is unknown."""
    return [] if value is None else [({}, float(value))]


def _escaped(word: str) -> str:
    return word.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
