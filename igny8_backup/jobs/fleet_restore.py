"""The task of a fleet restore: the part of one host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from igny8_backup.jobs.reporting import run_reported
from igny8_backup.operations.context import open_context
from igny8_backup.operations.fleet.restore.host import run_host_restore
from igny8_backup.operations.fleet.restore.host_request import HostRequest
from igny8_backup.operations.status.refresh import refreshing_status

_LEFT = (
    "If the fleet restore was decided, restore_all on this host completes its part. Otherwise nothing live"
    " was changed on this host."
)
_WAIT = 600
"""How many seconds the part of a host waits for another run on this host to end."""


def restore_fleet_part(arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """Do the part of this host in the fleet restore that ``arguments`` name: ``restore`` and ``host``.

    Returns the id and the final state; ``None`` if an earlier delivery of the task is at work. Raises
    ``BackupError`` if the part has failed.
    """
    request = HostRequest(restore=str(arguments["restore"]), host=str(arguments["host"]))
    with (
        run_reported("restore_fleet_part", "", _LEFT) as report,
        open_context(progress=report, wait=_WAIT, healing=True) as opened,
        refreshing_status(opened, "a fleet restore") as context,
    ):
        result = run_host_restore(context, request)
        if result is None:
            report.suppress()
            return None
        return {"id": result.id, "state": result.state}
