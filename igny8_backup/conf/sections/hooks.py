"""Read the keys about programs around backups and restores, and about running workers."""

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


def read_workers(reader: Reader) -> str:
    """Return the dotted path of the function that lists running workers; empty if there is none."""
    path = reader.take("WORKERS", str, "")
    if path and not all(word.isidentifier() for word in path.split(".")) or path.count(".") < bool(path):
        reader.wrong(
            "E017",
            f"{SETTING}['WORKERS'] is not the dotted path of a function.",
            'Write "project.queues.running_workers": a function without arguments that returns their names.',
        )
        return ""
    return str(path)
