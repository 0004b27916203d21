"""The Django app of this package.

When Django starts, the app registers the system checks and hides secret values of the settings. A restore
runs the project's code in a sandbox process. If that code starts another process of the project, the app
refuses to start in the new process.
"""

from __future__ import annotations

import os

from django.apps import AppConfig


class Igny8BackupConfig(AppConfig):
    name = "igny8_backup"
    verbose_name = "Backup and recovery"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.conf import settings

        from igny8_backup import checks  # noqa: F401  (the import registers the checks)
        from igny8_backup.common.hidden import hide_settings

        hide_settings(settings, "IGNY8_BACKUP")

        if "IGNY8_BACKUP_SANDBOX" in os.environ:
            from igny8_backup.operations.sandbox.process import refuse_without_isolation

            refuse_without_isolation()
