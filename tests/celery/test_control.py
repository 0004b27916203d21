"""Which workers are backup workers, judged by the queues that they consume."""

from __future__ import annotations

from celery import Celery

from igny8_backup.celery.control import backup_queues


def queues(*hosts: str, **schedule: tuple[str, str]) -> set[str]:
    """Return the queues for backups of an app whose beat sends tasks to queues: ``name=(task, queue)``."""
    app = Celery("project", broker="memory://", set_as_current=False)
    app.conf.beat_schedule = {
        name: {"task": task, "schedule": 60, "options": {"queue": queue} if queue else {}}
        for name, (task, queue) in schedule.items()
    }
    return backup_queues(app, hosts)


def test_queues_of_hosts_and_of_scheduled_fleet_backups_are_for_backups() -> None:
    fleet = ("igny8_backup.backup_fleet", "coordinator")
    assert queues("backup-web-1", nightly=fleet, prune=("igny8_backup.prune_backups", "upkeep")) == {
        "backup-web-1",
        "coordinator",
    }


def test_queue_that_the_application_uses_is_not_for_backups_only() -> None:
    assert queues("celery", "backup-web-1", mail=("mail.send", "backup-web-1")) == set()
    assert queues(nightly=("igny8_backup.backup_fleet", "")) == set()
    assert (
        queues(nightly=("igny8_backup.backup_fleet", "slow"), mail=("mail.send", "slow"), tick=("tick", ""))
        == set()
    )
