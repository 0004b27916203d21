"""Find out how this process started the project, so that another process can start it the same way.

Whatever ``manage.py`` does (read ``.env``, call ``settings.configure()`` or ``configurations.setup()``, take
arguments of its own) is then done in the other process, too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType, ModuleType
from typing import Any

_PASSED_ON = ("--settings", "--pythonpath", "--configuration")
"""Options of Django and django-configurations that change how a project starts, whatever the command."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """How to start the project. The fields can be written as JSON, because another process receives them.

    ``script`` is the path of ``manage.py`` or of another program that runs management commands; ``module`` is
    used instead if the program was started by ``python -m``. ``arguments`` are the program's own arguments,
    ``options`` those that follow the name of the command. If neither ``script`` nor ``module`` is set, the
    module ``app`` with the Celery app is imported, if there is one, and Django is set up by
    DJANGO_SETTINGS_MODULE.
    """

    script: str = ""
    module: str = ""
    arguments: Sequence[str] = ()
    options: Sequence[str] = ()
    app: str = ""

    @property
    def text(self) -> str:
        """The program that starts the project, as messages name it."""
        return self.script or (f"python -m {self.module}" if self.module else "django.setup()")


def find_start(chosen: str = "") -> Start:
    """Return how the project was started.

    If ``chosen`` is given (the path or module of a program, from the settings), that program is used instead
    of the one that was detected. In a process that runs no management command, such as a Celery worker, there
    is no program to start again: its Celery app and the settings module are used.
    """
    if chosen:
        is_path = os.path.isabs(chosen) or chosen.endswith(".py")
        return Start(script=chosen) if is_path else Start(module=chosen)
    main, words = sys.modules["__main__"], _command_line()
    arguments = _own_arguments(main, words) if words else None
    if arguments is None:
        return Start(app=_celery_module())
    options = tuple(_passed_on(words[2:]))
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return Start(module=spec.name, arguments=arguments, options=options)
    return Start(script=os.path.abspath(str(main.__file__)), arguments=arguments, options=options)


def interpreter() -> list[str]:
    """Return the command line of this Python interpreter, with its options (such as ``-X dev``)."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    # These three would ignore PYTHONPATH, with which the other process finds the same modules.
    return [sys.executable, *(flag for flag in flags if flag not in ("-I", "-E", "-P"))]


def _command_line() -> list[str]:
    """Return the arguments of the management command that this process runs; the first one is the program.

    The list is empty if no management command runs. Django keeps the arguments in the object that dispatches
    commands. If that command has called another command, the arguments are still those of the first command.
    """
    management: Any = sys.modules.get("django.core.management")
    frame: FrameType | None = sys._getframe()
    while management and frame:
        if frame.f_code is management.ManagementUtility.execute.__code__:
            return list(frame.f_locals["self"].argv)
        frame = frame.f_back
    return []


def _own_arguments(main: ModuleType, words: list[str]) -> tuple[str, ...] | None:
    """Return the arguments on the command line that the program ``main`` has not passed on to Django.

    ``words`` are the arguments that Django has received. Returns ``None`` if they do not come from the
    command line of this process. In that case ``main`` does not run management commands, and must not run
    again.
    """
    spec = getattr(main, "__spec__", None)
    if not getattr(main, "__file__", None) and spec is None:
        return None
    given = sys.orig_argv[1:]
    own: list[str] = []
    passed = words[1:]
    while given:
        word = given.pop()
        if passed and word == passed[-1]:
            passed.pop()
        else:
            own.append(word)
    if passed:
        return None
    own.reverse()
    # The interpreter's own options and the program come first.
    name = spec.name.removesuffix(".__main__") if spec is not None else os.path.basename(str(main.__file__))
    for place, word in enumerate(own):
        if word == name or os.path.basename(word) == name or (spec is not None and word == f"-m{name}"):
            return tuple(own[place + 1 :])
    return ()


def _passed_on(words: list[str]) -> list[str]:
    found = []
    for place, word in enumerate(words):
        name, equals, _ = word.partition("=")
        if name in _PASSED_ON:
            found += [word] if equals else words[place : place + 2]
    return found


def _celery_module() -> str:
    """Return the name of the module that holds the Celery app of this process; empty if there is none."""
    state: Any = sys.modules.get("celery._state")
    app = state and (getattr(state._tls, "current_app", None) or state.default_app)
    if not app or app.main == "default":
        return ""
    # A module that must not be imported is None here.
    names = [
        name
        for name, module in list(sys.modules.items())
        if name not in ("__main__", "__mp_main__")
        and any(value is app for value in getattr(module, "__dict__", {}).values())
    ]
    return min((name for name in names if not name.startswith("celery.")), key=len, default="")
