"""Real servers for the tests, started once per session."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def unavailable(reason: str) -> NoReturn:
    """Skip the test because a program is missing; in CI, fail it."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason} In CI every server must be there.", pytrace=False)
    pytest.skip(reason)
