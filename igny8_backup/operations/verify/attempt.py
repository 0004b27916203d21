"""How a verification of contents reads an object and records damage."""

from __future__ import annotations

from collections.abc import Callable

from igny8_backup.formats.objects import StoredObject
from igny8_backup.streams import Blocks

Reader = Callable[[Blocks], None]
Attempt = Callable[[StoredObject, Reader], bool]
"""A function that passes the content of an object to a ``Reader``, and records any damage. It returns whether
the object could be read and is undamaged."""
