"""The default folders of this package, which lie inside the project."""

from __future__ import annotations

import sys
from pathlib import Path

from django.conf import settings


def project_dir() -> Path:
    """Return the folder of the project: ``BASE_DIR``, or the folder that contains the settings package."""
    if base := getattr(settings, "BASE_DIR", None):
        return Path(base)
    module = sys.modules.get(getattr(settings, "SETTINGS_MODULE", None) or "")
    if module and module.__file__:
        return Path(module.__file__).resolve().parent.parent
    return Path.cwd()


def home_dir() -> Path:
    """Return the default folder for the state of this package and, with ``DEBUG`` on, for backups."""
    return project_dir() / ".igny8_backup"
