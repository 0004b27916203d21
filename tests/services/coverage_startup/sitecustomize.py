"""Measure coverage in processes that the package starts with an environment of its own.

Python imports this module at its start where this folder is on ``PYTHONPATH``. tests/conftest.py puts it
on ``sys.path`` while coverage is measured, and the package passes ``sys.path`` on to its workers.
"""

from __future__ import annotations

import os
from pathlib import Path

import coverage

REPOSITORY = Path(__file__).parents[3]

os.environ.setdefault("COVERAGE_PROCESS_START", str(REPOSITORY / "pyproject.toml"))
os.environ.setdefault("COVERAGE_FILE", str(REPOSITORY / ".coverage"))
coverage.process_startup()
