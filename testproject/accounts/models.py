"""Tenants and their users."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models


class Account(models.Model):
    """One tenant: the owner of sites, credits and invoices."""

    class Plan(models.TextChoices):
        FREE = "free"
        TEAM = "team"
        AGENCY = "agency"

    name = models.CharField(max_length=120)
    slug = models.SlugField(unique=True)
    plan = models.CharField(max_length=10, choices=Plan, default=Plan.FREE)
    is_active = models.BooleanField(default=True)
    preferences = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            # Not ``__in``: PostgreSQL writes ``varchar IN (...)`` down in a form that, read back, it writes
            # otherwise, so that no dump of it equals the dump of its restore.
            models.CheckConstraint(
                condition=models.Q(plan="free") | models.Q(plan="team") | models.Q(plan="agency"),
                name="account_plan",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class User(AbstractUser):
    """A user, who may be a member of several accounts."""

    email = models.EmailField(unique=True)
    accounts: models.ManyToManyField[Account, Membership] = models.ManyToManyField(
        Account, through="Membership", related_name="users"
    )


class Membership(models.Model):
    """The role of a user in an account."""

    class Role(models.TextChoices):
        OWNER = "owner"
        EDITOR = "editor"
        VIEWER = "viewer"

    account = models.ForeignKey(Account, on_delete=models.CASCADE)
    user = models.ForeignKey(User, on_delete=models.CASCADE)
    role = models.CharField(max_length=10, choices=Role, default=Role.VIEWER)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "user"], name="membership_once"),
            models.UniqueConstraint(
                fields=["account"], condition=models.Q(role="owner"), name="membership_one_owner"
            ),
        ]
