"""Register the backups with Django's admin. The admin, if it is installed, imports this module."""

from __future__ import annotations

from django.contrib import admin

from igny8_backup.models import Backup
from igny8_backup.web.model_admin import BackupAdmin

admin.site.register(Backup, BackupAdmin)
