"""A pytest plugin that lets Django and the package use psycopg2, although psycopg 3 is installed.

::

    python -m pytest -p tests.services.psycopg2_only tests/databases

Django chooses when it imports its backend, so psycopg 3 is hidden until that has happened. Afterwards the
tests themselves can use it. Processes that the tests start with this environment do not see it at all.
"""

from __future__ import annotations

import os
import sys

from tests.services import hidden

sys.modules["psycopg"] = None  # type: ignore[assignment]  # so that its import fails
try:
    from django.db.backends.postgresql.psycopg_any import is_psycopg3
finally:
    del sys.modules["psycopg"]

assert not is_psycopg3
os.environ |= hidden("psycopg", path=os.environ.get("PYTHONPATH", ""))
# The package gives this path to the processes that it starts.
sys.path.insert(0, os.environ["PYTHONPATH"].partition(os.pathsep)[0])
