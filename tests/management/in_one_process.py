"""Run many management commands in one process, each as ``manage.py`` would.

Each line of standard input is a job: an environment, a folder, a list of commands and the name of a file for
the result. A forked child runs the job; it has the large modules already, and reads the project's settings
itself, because they depend on the environment. The result is a list: the exit status of each command, its
output, and what it left open. A line of standard output says how the child ended.
"""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import pkgutil
import shutil
import signal
import sys
import threading
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS = 300
# Modules that take long to import and read no settings. The commands import nearly all of the package.
HEAVY = (
    "celery.app",
    "celery.fixups.django",
    "cron_descriptor",
    "crontab",
    "cryptography.hazmat.primitives.serialization",
    "django.contrib.admin",
    "django.contrib.auth.apps",
    "django.contrib.postgres.fields",
    "django.core.management",
    "django.db.backends.postgresql.base",
    "django.db.backends.sqlite3.base",
    "django.db.models",
    "django.template.defaulttags",
    "django.templatetags.i18n",
    "django.urls",
    "rich.progress",
)


def run(argv: list[str], changed: dict[str, Any], storage: str | None) -> dict[str, Any]:
    """Run one command. ``changed`` are keys of ``IGNY8_BACKUP``; ``storage`` is another folder of backups."""
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
            # The host must not take the other storage for the one that it used before, nor the reverse.
            memory = Path(settings.IGNY8_BACKUP["STATE_DIR"], "storages")
            shutil.rmtree(memory, ignore_errors=True)
            stack.callback(shutil.rmtree, memory, ignore_errors=True)
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        try:
            ManagementUtility(["manage.py", *argv]).execute()
        except SystemExit as leaving:
            code = leaving.code or 0
    gc.collect()
    return {
        "returncode": code,
        "stdout": out.getvalue(),
        "stderr": err.getvalue(),
        "left": sorted(_open_things() - before) + unraisable,
    }


def _open_things() -> set[str]:
    """Return open descriptors with their targets, threads and child processes."""
    found = {f"thread {thread.name}" for thread in threading.enumerate()}
    found |= {f"child {child}" for child in Path("/proc/thread-self/children").read_text().split()}
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"descriptor {name} {os.readlink(f'/proc/self/fd/{name}')}")
        except FileNotFoundError:
            continue  # the descriptor of the listing itself
    return found


def stop_measuring() -> None:
    """Stop the measurement of coverage that this process has inherited from its parent."""
    if coverage := sys.modules.get("coverage"):
        measuring = coverage.Coverage.current()
        if measuring is not None:
            measuring.stop()


def work(job: dict[str, Any]) -> None:
    """In the child: run all commands of a job, in order."""
    signal.alarm(SECONDS)
    nothing, output = (
        os.open(os.devnull, os.O_RDONLY),
        os.open(job["output"], os.O_WRONLY | os.O_CREAT, 0o600),
    )
    for ours, theirs in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(ours, theirs)
    os.umask(job["umask"])
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    if "COVERAGE_PROCESS_CONFIG" not in os.environ:
        stop_measuring()
    sys.path[:0] = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    import django

    django.setup()
    results = [run(item["argv"], item["settings"], item["storage"]) for item in job["commands"]]
    Path(job["answer"]).write_text(json.dumps(results))


def main() -> None:
    sys.path[0:1] = [str(REPOSITORY / "testproject"), str(REPOSITORY)]
    for name in HEAVY:
        importlib.import_module(name)
    from django.conf import settings

    from igny8_backup.management import commands

    for module in pkgutil.iter_modules(commands.__path__, f"{commands.__name__}."):
        importlib.import_module(module.name)
    assert not settings.configured, "A module reads settings when it is imported."
    gc.collect()
    gc.freeze()  # so that the collection after each command is short
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            work(json.loads(line))
            return
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
