"""Real servers for the tests, started once per session."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import NoReturn

import pytest


def unavailable(reason: str) -> NoReturn:
    """Skip the test because a program is missing; in CI, fail it."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason} In CI every server must be there.", pytrace=False)
    pytest.skip(reason)


def skip_without(*modules: str) -> None:
    """Skip the test if a module is not installed, without importing any.

    ``pytest.importorskip`` imports them into the process of all tests: eventlet, for one, warns of each fork
    from then on.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


def hidden(*modules: str, path: str = "") -> dict[str, str]:
    """Return environment variables that hide ``modules`` from Python; ``path`` is the present PYTHONPATH."""
    folder = str(Path(__file__).with_name("hide_modules"))
    return {"PYTHONPATH": os.pathsep.join(filter(None, [folder, path])), "HIDDEN_MODULES": ",".join(modules)}
