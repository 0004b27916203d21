"""Bytes on their way: sources, transformers, observers and sinks.

A stream is a generator of non-empty ``bytes`` blocks of about 1 MiB (``Blocks``). Three rules make it safe:

* It ends only when everything behind it has ended well: a child process has been reaped with exit status
  0, a frame is complete, a digest is right. Otherwise it raises. End of stream is never a mere ``b""``.
* Closing it (``close()``, or an exception in the consumer) stops and reaps everything behind it.
* It is advanced by one thread at a time, the consumer's; a stage that needs a thread hides it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, TypeVar

Blocks: TypeAlias = Generator[bytes, None, None]

Views: TypeAlias = Generator[bytes | memoryview, None, None]
"""Blocks that may lie in somebody else's memory: each is good until the next is asked for."""

Block = TypeVar("Block", bound=bytes | memoryview)
"""For what passes the blocks of either on as they are."""

BLOCK = 1 << 20
"""Bytes in a block, about."""
