"""Start the project in the sandbox process, and do other work in place of its management command.

The project starts as it did in the process that runs the restore. It sees the command line of ``manage.py
migrate``: code that looks for ``migrate`` in ``sys.argv`` behaves as it does before a migration.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

from igny8_backup.operations.sandbox.failures import describe_failure
from igny8_backup.operations.sandbox.import_hooks import change_after_import
from igny8_backup.operations.sandbox.places import project_packages
from igny8_backup.operations.sandbox.start import Start

COMMAND = "migrate"
ENVIRONMENT = "IGNY8_BACKUP_SANDBOX"
"""The environment variable by which the project and its child processes recognize the sandbox."""

THREAD_SECONDS = 5
"""Time limit in seconds, after the work, for all threads of the project that are not daemons."""

_isolated = False


def refuse_without_isolation() -> None:
    """Raise :class:`StartError` if this is a process that the project's code in the sandbox has started.

    Such a process would use the settings of the live application, and might be ``manage.py migrate``. A
    process that has replaced the sandbox by exec(2) is refused too.
    """
    if os.environ.get(ENVIRONMENT) and not _isolated:
        raise StartError(
            f"{ENVIRONMENT} is set, but this process is not the sandbox of a restore. Code that runs in the"
            " sandbox must not start the project again, because it would use the live databases. If no"
            " restore has started this process, unset the variable."
        )


def end_process(status: int) -> NoReturn:
    """End the sandbox process, even if the project has started threads that never end."""
    deadline = time.monotonic() + THREAD_SECONDS
    others = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
    for thread in others:
        if not thread.daemon:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                os._exit(status)
    sys.exit(status)


class StartError(Exception):
    """The project could not be started. The message gives the reason, file and line.

    What looks like a value or a secret in the exception of the project is masked.
    """


def run_in_project(start: Start, work: Callable[[], None], before_apps: Callable[[], None]) -> None:
    """Start the project as ``start`` says, and call ``work`` when its apps are ready.

    ``before_apps`` is called when Django has read the settings and has loaded no app yet. Raises
    :class:`StartError` if the project does not start, and the exceptions of ``work``.
    """
    global _isolated
    _isolated = True
    run = _Run(work)
    change_after_import(
        {
            "django.apps.registry": lambda module: _call_before_apps(module, before_apps),
            "django.core.management": run.take_command,
        }
    )
    try:
        _start(start, run)
    except BaseException as error:
        # After the work, the program may end as it likes.
        if not run.begun:
            raise StartError(describe_failure(error, project_packages())) from None
    if run.error is not None:
        raise run.error
    if not run.begun:
        raise StartError(
            f"{start.text} ended without running the management command {COMMAND!r}. Name the program that"
            " runs management commands: IGNY8_BACKUP['SANDBOX'] = {'SCRIPT': '/path/of/manage.py'}"
        )


class _Run:
    """The work that takes the place of a management command, and how it ended."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self.begun = self.working = False
        self.error: BaseException | None = None

    def take_command(self, management: ModuleType) -> None:
        """Make Django run the work instead of the management command that the program starts.

        ``management`` is the module ``django.core.management``.
        """
        utility = management.ManagementUtility
        fetch = utility.fetch_command

        def fetch_command(found: Any, subcommand: str) -> Any:
            utility.fetch_command = fetch
            return self

        utility.fetch_command = fetch_command
        command = management.BaseCommand
        execute = command.execute

        def guarded_execute(found: Any, *args: Any, **options: Any) -> Any:
            # A program that does not use the dispatcher would migrate here, perhaps the live database.
            if type(found).__module__.endswith(f".{COMMAND}") and not self.working:
                raise StartError(
                    f"the program runs the management command {COMMAND} itself, without Django's dispatcher"
                )
            return execute(found, *args, **options)

        command.execute = guarded_execute

    def run_from_argv(self, argv: list[str]) -> None:
        """Do the work. Django calls this method in place of that of a management command.

        An exception of the work is kept in ``error``, because the program may catch or hide it.
        """
        import django
        from django.apps import apps

        if not apps.ready:
            # Django looks for a command even if the settings cannot be read. Then this raises the reason.
            django.setup()
        self.begun = self.working = True
        try:
            self._work()
        except BaseException as error:
            self.error = error
        finally:
            self.working = False


def _start(start: Start, run: _Run) -> None:
    name = start.script or start.module
    if not name:
        import django

        if start.app:
            import_module(start.app)
        django.setup()
        run.run_from_argv([])
        return
    sys.argv = [name, *start.arguments, COMMAND, *start.options]
    if start.module:
        runpy.run_module(start.module, run_name="__main__", alter_sys=True)
    else:
        # As the interpreter does for a script; the folder of this module is not the project's.
        folder = os.path.dirname(os.path.realpath(start.script))
        if folder not in sys.path:
            sys.path.insert(0, folder)
        runpy.run_path(start.script, run_name="__main__")


def _call_before_apps(registry: ModuleType, before_apps: Callable[[], None]) -> None:
    """Call ``before_apps`` once, after Django has read the settings and before it loads the first app.

    ``registry`` is the module ``django.apps.registry``.
    """
    populate = registry.Apps.populate

    def isolated_populate(apps: Any, installed_apps: Any = None) -> None:
        if apps is registry.apps:
            registry.Apps.populate = populate
            before_apps()
        populate(apps, installed_apps)

    registry.Apps.populate = isolated_populate
