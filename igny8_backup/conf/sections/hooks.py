"""Read the keys BEFORE_RESTORE and AFTER_RESTORE: programs to run around a restore."""

from __future__ import annotations

from igny8_backup.conf.model import SETTING
from igny8_backup.conf.parser import Reader


def read_commands(reader: Reader, key: str) -> tuple[tuple[str, ...], ...]:
    """Return the programs under ``key`` with their arguments, in the order in which they run."""
    commands = reader.take(key, (list, tuple), ())
    for argv in commands:
        words = isinstance(argv, (list, tuple)) and all(isinstance(word, str) for word in argv)
        if not words or not argv or not argv[0] or any("\0" in word for word in argv):
            reader.wrong(
                "E017",
                f"{SETTING}[{key!r}] is not a list of argument lists.",
                'Write [["docker", "compose", "stop", "worker"]]. The programs run without a shell.',
            )
            return ()
    return tuple(map(tuple, commands))
