"""``python -m igny8_backup.trees.extract.partition_process FD``: the partition worker, which reads an index.

It receives the index as a stream; ``partition.partition_index`` is the other side.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from igny8_backup.streams import Blocks
from igny8_backup.trees.extract.partition import Partition
from igny8_backup.trees.index import index
from igny8_backup.trees.tar.blocks import TarBlocks
from igny8_backup.trees.worker_protocol import Parent, run


def main(fields: dict[str, Any], parent: Parent) -> dict[str, Any]:
    """Do the job in ``fields``; the result is empty."""
    partition = Partition(Path(fields["folder"]), fields["packs"])
    for _, blocks in parent.streams():
        partition.add_all(index.read(_copies(blocks)))
        break  # one stream is the whole index
    return {}


def _copies(views: TarBlocks) -> Blocks:
    for view in views:
        yield bytes(view)


if __name__ == "__main__":
    run(main)
