"""``python -m igny8_backup.trees.extract.partition_process FD``: reads an index; ``partition.partition_index`` is the other side.

Its job comes through stdin (``processes.give_job``), FD is the memory that the index comes through.
Nothing that needs Django is imported, no secret is known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from igny8_backup.streams import Blocks
from igny8_backup.streams.shared_memory import Slots
from igny8_backup.trees.extract.partition import Partition
from igny8_backup.trees.index import index
from igny8_backup.trees.worker_protocol import received, run


def main(fields: dict[str, Any], slots: Slots) -> None:
    Partition(Path(fields["folder"]), fields["packs"]).take(index.read(_copies(slots)))


def _copies(slots: Slots) -> Blocks:
    for view in received(slots):
        yield bytes(view)


if __name__ == "__main__":
    run(main)
