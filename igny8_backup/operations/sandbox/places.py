"""Find the file and line of the project's own code behind an exception or a call."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Sequence

_LIBRARY = tuple(
    os.path.realpath(path) + os.sep
    for path in {sysconfig.get_path("stdlib"), os.path.dirname(os.path.dirname(os.path.dirname(__file__)))}
)
_INSTALLED = ("site-packages", "dist-packages")


def place_of(error: BaseException, packages: Iterable[str] = ()) -> str:
    """Return the file and line of the project's code in which ``error`` arose.

    If no code of the project was involved, the innermost code of a library other than Django is taken, or
    else the innermost code of all. ``packages`` are top-level names of the project's own packages that are
    installed like libraries.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    return _place_in(traceback.extract_tb(error.__traceback__), packages)


def place_of_call(packages: Iterable[str] = ()) -> str:
    """Return the file and line of the project's code that is running.

    If no code of the project is running, the innermost code of a library other than Django is taken, or else
    the innermost code of all. ``packages`` are top-level names of the project's own packages that are
    installed like libraries.
    """
    return _place_in(traceback.extract_stack(sys._getframe(1)), packages)


def _place_in(frames: Sequence[traceback.FrameSummary], packages: Iterable[str]) -> str:
    if not frames:
        return "no place known"
    own = [frame for frame in frames if _is_own(frame.filename, set(packages))]
    others = [frame for frame in frames if _is_installed(frame.filename) and not _is_django(frame.filename)]
    frame = (own or others or list(frames))[-1]
    return f"{frame.filename}, line {frame.lineno}"


def _is_own(path: str, packages: set[str]) -> bool:
    """Return whether the file ``path`` is a part of the project.

    The project consists of all files outside the folders of installed libraries, except those of the standard
    library and of this package. The installed ``packages`` belong to it, too.
    """
    if path.startswith("<") or os.path.realpath(path).startswith(_LIBRARY) and not _is_installed(path):
        return False
    if not _is_installed(path):
        return True
    parts = path.split(os.sep)
    place = max(parts.index(name) for name in _INSTALLED if name in parts)
    return parts[place + 1].removesuffix(".py") in packages


def _is_installed(path: str) -> bool:
    return any(f"{os.sep}{name}{os.sep}" in path for name in _INSTALLED)


def _is_django(path: str) -> bool:
    return any(f"{os.sep}{name}{os.sep}django{os.sep}" in path for name in _INSTALLED)


def project_packages() -> set[str]:
    """Return the name of the top-level package that contains the project's settings, if it is known."""
    found = set()
    conf = sys.modules.get("django.conf")
    if conf and conf.settings.configured:
        settings = conf.settings
        found.add(str(settings.SETTINGS_MODULE or getattr(settings, "ROOT_URLCONF", "")).partition(".")[0])
    else:  # the settings are being read, or cannot be read
        found.add(os.environ.get("DJANGO_SETTINGS_MODULE", "").partition(".")[0])
    return found - {"", "django"}
