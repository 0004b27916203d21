"""Hide modules from a process, as if they were not installed. Python imports this module at its start where
this folder is on ``PYTHONPATH``. ``HIDDEN_MODULES`` names them, separated by commas."""

import os
import sys

for name in os.environ.get("HIDDEN_MODULES", "").split(","):
    sys.modules[name] = None  # type: ignore[assignment]  # so that its import fails
