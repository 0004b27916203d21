"""Divide the hosts into those that are expected to make backups and those that were retired."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from igny8_backup.catalog.retirements import Retirements, read_retirements
from igny8_backup.common.clock_skew import is_ahead
from igny8_backup.conf import Config
from igny8_backup.formats.documents.run_record import RunRecord
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.context import BackupContext

FORGOTTEN_AFTER = timedelta(days=90)
"""Without the setting ``HOSTS``, a host that has not run a backup for this long is regarded as retired."""


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """The names of hosts, sorted. ``expected`` are the hosts that should make backups.

    ``retired`` are all others with backups or run records in storage. ``seen`` maps each host with backups or
    run records in storage to the start of its newest run. ``doubts`` maps expected hosts whose retirement is
    recorded to the reasons why the record does not count. ``reasons`` maps hosts that ``retire_host`` retired
    to the reasons for it.
    """

    expected: tuple[str, ...]
    retired: tuple[str, ...]
    seen: dict[str, datetime]
    doubts: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def undeclared_note(config: Config) -> str:
    """Return a note if the setting ``HOSTS`` does not name this host, else ``""``."""
    if config.hosts is None or config.host in config.hosts:
        return ""
    return (
        f"HOSTS does not name this host, {config.host!r}, so monitor_backups does not report missing backups."
    )


def sort_hosts(
    config: Config,
    manifests: Iterable[Manifest],
    runs: Iterable[RunRecord],
    now: datetime,
    retirements: Retirements,
) -> Hosts:
    """Divide the hosts that ``HOSTS``, ``manifests`` and ``runs`` name into expected and retired ones.

    With the setting ``HOSTS``, the hosts in it are expected. Without it, a host is expected if its newest
    backup or run is not older than ``FORGOTTEN_AFTER``, and no retirement in ``retirements`` covers this run.
    """
    seen: dict[str, datetime] = {}
    starts = [(item.host, item.started) for item in manifests]
    for host, started in starts + [(run.host, run.started) for run in runs]:
        # A time in the future is not believed: it would keep the host from ever counting as retired.
        started = now if is_ahead(started, now) else started
        seen[host] = max(started, seen.get(host, started))
    if config.hosts is not None:
        expected = set(config.hosts)
    else:
        expected = {
            host
            for host, at in seen.items()
            if now - at <= FORGOTTEN_AFTER and not retirements.cover(host, at)
        }
    return Hosts(
        expected=tuple(sorted(expected)),
        retired=tuple(sorted(seen.keys() - expected)),
        seen=seen,
        doubts={host: why for host, why in retirements.doubts.items() if host in expected},
        reasons={host: made.reason for host, made in retirements.counting.items() if host not in expected},
    )


def read_hosts_retired(context: BackupContext) -> Retirements:
    """Read which hosts were retired with ``retire_host``. Raises ``StorageError``.

    Nothing is read if the setting ``HOSTS`` exists, because it alone says then which hosts are expected.
    """
    if context.config.hosts is not None:
        return Retirements()
    return read_retirements(context.store, context.config.trust)
