"""Cut a stream into chunks by its content (FastCDC), so that equal contents become equal chunks.

An insertion or deletion moves all later bytes of a stream, but changes only the chunks around it. Only the
compiled cutter of ``pyfastcdc`` is used; its fallback in pure Python is hundreds of times slower.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import Any

from igny8_backup.streams import Blocks

AVERAGE = 8 << 10
"""The smallest average size of chunks in bytes."""
LARGEST_AVERAGE = 1 << 20
"""The largest average size of chunks in bytes, so that a chunk always fits into a pack."""
MANY, FEW = 2_000_000, 400_000
"""The average size doubles if an archive would have more than ``MANY`` chunks, and halves below ``FEW``."""
SEED_LIMIT = 1 << 63
"""Seeds are smaller than this."""
_NORMALIZATION = 1


@dataclass(frozen=True, kw_only=True)
class CutterIdentity:
    """Everything that decides where a stream is cut, except for the secret seed. Sizes are in bytes.

    Two archives share chunks only if they were cut by the same cutter.
    """

    name: str
    version: str
    average: int
    smallest: int
    largest: int
    normalization: int


def compiled_version() -> str:
    """Return the version of the compiled cutter; empty if it is not installed."""
    found = _module()
    return "" if found is None else str(found[1])


def identity(average: int = AVERAGE) -> CutterIdentity:
    """Return the identity of the installed cutter for chunks of ``average`` bytes."""
    return CutterIdentity(
        name="pyfastcdc",
        version=compiled_version(),
        average=average,
        smallest=average // 4,
        largest=average * 8,
        normalization=_NORMALIZATION,
    )


def suitable_average(archive_bytes: int, previous: int = AVERAGE) -> int:
    """Return the average size of chunks for an archive of about ``archive_bytes`` bytes.

    ``previous`` is the average of the last archive. It is kept unless there would be too many or too few
    chunks. The limits are far apart, so that the average does not change back and forth.
    """
    average = min(max(previous, AVERAGE), LARGEST_AVERAGE)
    while archive_bytes > MANY * average and average < LARGEST_AVERAGE:
        average *= 2
    while archive_bytes < FEW * average and average > AVERAGE:
        average //= 2
    return average


class Cutter:
    """Cuts streams into chunks.

    ``found`` must be the identity of the installed cutter. ``seed`` is secret and moves all cuts; without it,
    the sizes of chunks could reveal that a database contains some known text. Raises ``RuntimeError`` if the
    compiled cutter is not installed or has another identity.
    """

    def __init__(self, found: CutterIdentity, seed: int) -> None:
        module = _module()
        if module is None or found != identity(found.average):
            raise RuntimeError(f"the cutter {found} is not installed")
        self.identity = found
        self._fastcdc = module[0](
            found.average,
            min_size=found.smallest,
            max_size=found.largest,
            normalized_chunking=found.normalization,
            seed=seed,
        )

    def cut(self, blocks: Blocks) -> Generator[memoryview, None, None]:
        """Yield the chunks of a stream, in order. The sizes of its blocks make no difference.

        Each chunk is a view of memory that is about as large as a block. Copy chunks that you keep for long.
        """
        window, largest = b"", self.identity.largest
        with closing(blocks):
            for block in blocks:
                window = window + block if window else block
                if len(window) > largest:
                    # The end of a chunk depends on at most ``largest`` bytes from its start.
                    end = 0
                    for chunk in self._fastcdc.cut_buf(window):
                        if len(window) - chunk.offset < largest:
                            break
                        end = chunk.offset + chunk.length
                        yield chunk.data
                    window = window[end:]
        for chunk in self._fastcdc.cut_buf(window):
            yield chunk.data


@cache
def _module() -> tuple[Any, str] | None:
    """Return the class of the compiled cutter and its version, or ``None`` if it is not installed."""
    try:
        with warnings.catch_warnings(action="ignore"):  # it announces the fallback
            from pyfastcdc import __version__
            from pyfastcdc.cy import FastCDC
    except ImportError:
        return None
    return FastCDC, __version__
