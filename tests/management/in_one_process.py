"""A program: runs management commands one after the other in one process, each as ``manage.py`` would.

Reads a JSON list of ``{"argv": [...], "settings": {...}}`` and writes a list of what each did: exit status,
output, and what it left open. ``settings`` change ``IGNY8_BACKUP`` key by key; ``storage`` is the folder that
holds the backups.
"""

from __future__ import annotations

import gc
import io
import json
import os
import sys
import threading
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


def run(argv: list[str], changed: dict[str, Any], storage: str | None) -> dict[str, Any]:
    """One command: its exit status, its output and what it left behind."""
    from django.conf import settings
    from django.core.management import ManagementUtility
    from django.test import override_settings

    out, err = io.StringIO(), io.StringIO()
    unraisable: list[str] = []
    sys.unraisablehook = lambda args: unraisable.append(repr(args.exc_value))
    before = _open_things()
    code: object = 0
    with ExitStack() as stack:
        stack.enter_context(override_settings(IGNY8_BACKUP={**settings.IGNY8_BACKUP, **changed}))
        if storage:
            alias = {**settings.STORAGES["dbbackup"], "OPTIONS": {"location": storage}}
            stack.enter_context(override_settings(STORAGES={**settings.STORAGES, "dbbackup": alias}))
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        try:
            ManagementUtility(["manage.py", *argv]).execute()
        except SystemExit as leaving:
            code = leaving.code or 0
    gc.collect()
    left = sorted(_open_things() - before)
    return {
        "returncode": code,
        "stdout": out.getvalue(),
        "stderr": err.getvalue(),
        "left": left + unraisable,
    }


def _open_things() -> set[str]:
    """Descriptors with what they lead to, threads, children."""
    found = {f"thread {thread.name}" for thread in threading.enumerate()}
    found |= {f"child {child}" for child in Path("/proc/thread-self/children").read_text().split()}
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"descriptor {name} {os.readlink(f'/proc/self/fd/{name}')}")
        except FileNotFoundError:
            continue  # that of the listing itself
    return found


def main() -> None:
    sys.path[:0] = [str(REPOSITORY / "testproject"), str(REPOSITORY)]
    sys.path.remove(str(Path(__file__).parent))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    work = json.load(sys.stdin)
    import django

    django.setup()
    results = [run(item["argv"], item["settings"], item["storage"]) for item in work]
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
