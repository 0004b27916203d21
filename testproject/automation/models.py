"""Automated workflows, their schedules and their runs."""

from __future__ import annotations

from accounts.models import Account
from django.db import models
from django.db.models import F, Q


class Workflow(models.Model):
    """A chain of steps as JSON."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="workflows")
    name = models.CharField(max_length=120)
    definition = models.JSONField()
    is_enabled = models.BooleanField(default=True)

    def __str__(self) -> str:
        return self.name


class Schedule(models.Model):
    """When a workflow runs next."""

    workflow = models.OneToOneField(Workflow, on_delete=models.CASCADE, related_name="schedule")
    cron = models.CharField(max_length=60)
    last_run_at = models.DateTimeField(null=True, blank=True)
    next_run_at = models.DateTimeField()


class Run(models.Model):
    """One run of a workflow."""

    class State(models.TextChoices):
        QUEUED = "queued"
        DONE = "done"
        FAILED = "failed"

    workflow = models.ForeignKey(Workflow, on_delete=models.CASCADE, related_name="runs")
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    queued_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    took = models.DurationField(null=True, blank=True)
    cost = models.FloatField(default=0)
    result = models.JSONField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(finished_at__isnull=True) | Q(finished_at__gte=F("queued_at")),
                name="run_ends_after_it_begins",
            ),
        ]
        indexes = [models.Index(fields=["queued_at"], condition=Q(state="queued"), name="run_waiting")]
