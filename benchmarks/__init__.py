"""Compare this package with similar tools. Run as ``python -m benchmarks.database``, ``sites``, and so on."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTPROJECT = ROOT / "testproject"

# The project that is backed up, and the server under it, are the test project's own.
if str(TESTPROJECT) not in sys.path:
    sys.path.insert(1, str(TESTPROJECT))
