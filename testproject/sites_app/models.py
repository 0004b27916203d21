"""Published static sites: rows that point at folders on disk."""

from __future__ import annotations

from accounts.models import Account
from django.db import models


class Site(models.Model):
    """A site; ``folder`` is relative to the tree ``sites-data`` and exists there."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="sites")
    domain = models.CharField(max_length=200, unique=True)
    folder = models.CharField(max_length=200, unique=True)
    is_published = models.BooleanField(default=True)
    theme = models.JSONField(default=dict, blank=True)
    published_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.domain


class Page(models.Model):
    """A page as last published."""

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="pages")
    path = models.CharField(max_length=300)
    title = models.CharField(max_length=200)
    checksum = models.BinaryField(max_length=32)
    published_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["site", "path"], name="page_once")]
