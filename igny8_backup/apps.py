"""The Django app, which registers the system checks of this package."""

from __future__ import annotations

from django.apps import AppConfig


class Igny8BackupConfig(AppConfig):
    name = "igny8_backup"
    verbose_name = "Backup and recovery"

    def ready(self) -> None:
        from igny8_backup import checks  # noqa: F401  (the import registers the checks)
