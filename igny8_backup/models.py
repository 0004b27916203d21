"""A model without a table, which gives the page in Django's admin its name and its permissions."""

from __future__ import annotations

from django.db import models


class Backup(models.Model):
    """The model that Django's admin lists for the page. It has no table: backups are not in the database."""

    class Meta:
        managed = False
        verbose_name = "backup"
        verbose_name_plural = "backups"
        default_permissions = ("view",)
        permissions = (
            ("run_backup", "Can start a backup"),
            ("verify_backup", "Can verify a backup"),
            ("drill_backup", "Can drill a backup"),
            ("pin_backup", "Can pin a backup"),
        )
