"""Answer, in a worker, which host it runs on: see ``hosts``. Only ``tasks`` imports this module."""

from __future__ import annotations

from typing import Any

from igny8_backup import __version__
from igny8_backup.celery.hosts import COMMAND
from igny8_backup.common.clock import utc_now
from igny8_backup.conf import get_config


def register(**_: object) -> None:
    """Register the remote control command: a receiver of Celery's signal ``worker_init``."""
    from celery.worker.control import inspect_command

    inspect_command(name=COMMAND, visible=False)(describe_host)


def describe_host(state: Any) -> dict[str, Any]:
    """Return the answer of this worker to ``COMMAND``."""
    consumer = state.consumer.task_consumer
    return {
        "host": get_config().host,
        "version": __version__,
        "time": utc_now().isoformat(),
        "queues": sorted(queue.name for queue in consumer.queues) if consumer else [],
    }
