"""``python -m igny8_backup.trees.spool_process FD``: reads an index; ``spool.spool_index`` is the other side.

Its job comes through stdin (``processes.give_job``), FD is the memory that the index comes through.
Nothing that needs Django is imported, no secret is known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from igny8_backup.streams import Blocks
from igny8_backup.streams.slots import Slots
from igny8_backup.trees import index
from igny8_backup.trees.processes import received, run
from igny8_backup.trees.spool import Spool


def main(fields: dict[str, Any], slots: Slots) -> None:
    Spool(Path(fields["folder"]), fields["packs"]).take(index.read(_copies(slots)))


def _copies(slots: Slots) -> Blocks:
    for view in received(slots):
        yield bytes(view)


if __name__ == "__main__":
    run(main)
