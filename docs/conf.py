"""Sphinx settings."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from igny8_backup import __version__  # noqa: E402  (the path comes first)

project = "igny8_backup"
author = "The igny8_backup maintainers"
copyright = f"2026, {author}"  # noqa: A001  (Sphinx's name for it)
release = version = __version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
nitpicky = True
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]

html_theme = "furo"
html_title = f"igny8_backup {release}"
html_copy_source = False
