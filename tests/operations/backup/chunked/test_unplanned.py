"""What repeated full dumps that were not due say: the cause may be ``STATE_DIR``, or the storage."""

from __future__ import annotations

from datetime import UTC, datetime

from igny8_backup.formats.chunked import FULL, ChunkedDump
from igny8_backup.operations.backup.chunked.unplanned import repeated_text

PACK_LOST = "the pack packs/web-1/db.default/1.chunks.zst of the last full dump is missing or damaged"
NO_MAP = "this host has no map of its chunks"


def earlier(reason: str) -> ChunkedDump:
    started = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
    return ChunkedDump(
        kind=FULL,
        bytes=1,
        archive_sha256="0" * 64,
        full_id="20261122T021500Z-7f3a9c",
        full_started=started,
        reason=reason,
    )


def test_repeated_text_after_lost_maps_advises_a_lasting_state_dir() -> None:
    text = repeated_text(earlier(NO_MAP), NO_MAP)
    assert text.startswith(
        f"full dumps were made twice although none was due: on 2026-11-22 02:15 UTC because {NO_MAP}"
    )
    assert "IGNY8_BACKUP['STATE_DIR'] must persist: in a container, put it on a volume" in text


def test_repeated_text_after_lost_packs_advises_to_look_at_the_storage() -> None:
    text = repeated_text(earlier(PACK_LOST), PACK_LOST)
    assert "If packs are missing or damaged, find out what removes or alters objects in the storage" in text
