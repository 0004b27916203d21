#!/usr/bin/env python
"""The command line of the test project: an ordinary manage.py, except for the environment of the demo."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    """Run the command named on the command line."""
    # The checkout this file lies in is what is tried, whether or not the package is installed as well.
    sys.path.insert(1, str(Path(__file__).resolve().parent.parent))
    if sys.argv[1:2] == ["demo"]:
        from demo.environment import keep_only_what_the_demo_needs

        keep_only_what_the_demo_needs()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
