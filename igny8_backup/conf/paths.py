"""Folders of the project that the settings need not name."""

from __future__ import annotations

import sys
from pathlib import Path

from django.conf import settings


def project_dir() -> Path:
    """``BASE_DIR`` where the settings have one, else the folder of the settings' package."""
    if base := getattr(settings, "BASE_DIR", None):
        return Path(base)
    module = sys.modules.get(getattr(settings, "SETTINGS_MODULE", None) or "")
    if module and module.__file__:
        return Path(module.__file__).resolve().parent.parent
    return Path.cwd()


def home_dir() -> Path:
    """Where things go that the settings name no place for: the state, and in DEBUG the backups."""
    return project_dir() / ".igny8_backup"
