"""Streams of bytes: sources, transformers, observers and sinks.

A stream is a generator of non-empty ``bytes`` blocks of about 1 MiB (``Blocks``). Three rules make it safe:

* A stream ends only when everything that it reads from has succeeded: child processes have been reaped with
  exit status 0, frames are complete, digests are right. Otherwise the stream raises an exception.
* Closing a stream (``close()``, or an exception in the consumer) stops and reaps everything that it
  reads from.
* Only the consumer's thread advances a stream. A stage that uses a thread of its own shields the source
  from that thread (``thread_stage``).

Entry points: ``pipeline`` (encode, decode, files), ``process`` (child processes), ``observe`` (digests). This
package imports ``errors`` and no Django.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

Blocks: TypeAlias = Generator[bytes, None, None]


@dataclass(frozen=True)
class Gap:
    """A range of ``size`` bytes of a stream that is lost."""

    size: int


Pieces: TypeAlias = Generator[bytes | Gap, None, None]
"""A stream that goes on after ranges that are lost."""

Views: TypeAlias = Generator[bytes | memoryview, None, None]
"""A stream whose blocks may be views of a shared buffer. Each is valid until the next one is requested."""

Block = TypeVar("Block", bound=bytes | memoryview)
"""The type of the blocks, for stages that pass on either kind: ``bytes`` or views."""

BLOCK = 1 << 20
"""Approximate number of bytes in a block."""
