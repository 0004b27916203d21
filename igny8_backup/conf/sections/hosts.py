"""Read the key HOSTS: the machines that are expected to make backups, and their parts of a fleet backup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from igny8_backup.conf.model import SETTING, Config, FleetHost
from igny8_backup.conf.parser import Reader
from igny8_backup.formats import keys

_KNOWN = ("queue", "databases", "sites", "logs")
"""The keys that the dict of a host may have."""
_EXAMPLE = 'Write {"web-1": {"queue": "backup-web-1", "sites": ["uploads"]}}, or {"web-1": {}, "web-2": {}}.'


def read_hosts(reader: Reader) -> Mapping[str, Mapping[str, Any]] | None:
    """Return the settings of each host by its name. ``None`` means that the settings declare no host."""
    found: dict[Any, Any] | None = reader.take("HOSTS", dict, None)
    if found is None:
        return None
    for name, settings in found.items():
        if problem := _problem(name, settings):
            reader.wrong("E036", f"{SETTING}['HOSTS']{problem}", _EXAMPLE)
            return None
    if not found:
        hint = 'Write {"web-1": {}, "web-2": {}}, or remove the key.'
        reader.wrong(
            "E036", f"{SETTING}['HOSTS'] names no host, so a missing backup would not be noticed.", hint
        )
        return None
    return found


def fleet_of(hosts: Mapping[str, Mapping[str, Any]] | None) -> dict[str, FleetHost]:
    """Return the hosts that take part in fleet backups: those with a queue."""
    return {
        name: FleetHost(
            queue=found["queue"],
            **{key: tuple(dict.fromkeys(found.get(key, ()))) for key in _KNOWN if key != "queue"},
        )
        for name, found in (hosts or {}).items()
        if "queue" in found
    }


def check_fleet(reader: Reader, config: Config) -> None:
    """Record a problem for each host in ``config.fleet`` whose databases, trees or queue cannot be used."""
    known = {"databases": config.databases, "sites": tuple(config.sites), "logs": tuple(config.logs)}
    queues: dict[str, str] = {}
    for name, host in config.fleet.items():
        where = f"{SETTING}['HOSTS'][{name!r}]"
        if (other := queues.setdefault(host.queue, name)) != name:
            reader.wrong(
                "E063",
                f"{where} and the host {other!r} have the same queue, {host.queue!r}.",
                f'Give each host a queue of its own, for example "backup-{name}": a worker of one host cannot'
                " back up the files of another.",
            )
        for key, names in known.items():
            if unknown := sorted(set(getattr(host, key)).difference(names)):
                reader.wrong(
                    "E063",
                    f"{where}[{key!r}] names {unknown[0]!r}, which {SETTING}[{key.upper()!r}] does not have.",
                    f"Choose among: {', '.join(names) or 'none'}.",
                )


def narrowed(config: Config) -> Config:
    """Return ``config`` with only the databases and trees that this host backs up in fleet backups.

    If this host takes part in none, all stay. What no host of the fleet backs up becomes ``unclaimed``.
    """
    if not config.fleet:
        return config
    claimed = {name for host in config.fleet.values() for name in (*host.databases, *host.sites)}
    unclaimed = tuple(name for name in (*config.databases, *config.sites) if name not in claimed)
    own = config.fleet.get(config.host)
    if own is None:
        return replace(config, unclaimed=unclaimed)
    return replace(
        config,
        unclaimed=unclaimed,
        databases=own.databases,
        sites={name: config.sites[name] for name in own.sites},
        logs={name: config.logs[name] for name in own.logs},
    )


def _problem(name: Any, settings: Any) -> str:
    """Return what is wrong with the entry of a host, as the rest of a sentence, or ``""``."""
    if not (isinstance(name, str) and keys.is_host(name)):
        return f" has the name {name!r}, which cannot be the HOST of a machine."
    if not isinstance(settings, Mapping):
        return f"[{name!r}] is {type(settings).__name__}, not a dict."
    if unknown := [key for key in settings if key not in _KNOWN]:
        return f"[{name!r}] has the unknown key {unknown[0]!r}."
    if not settings:
        return ""
    queue = settings.get("queue")
    if not (isinstance(queue, str) and queue.isprintable() and queue):
        return f"[{name!r}] has no 'queue', the name of the Celery queue of the host."
    lists = {key: settings.get(key, ()) for key in _KNOWN if key != "queue"}
    for key, names in lists.items():
        if not _is_list_of_names(names):
            return f"[{name!r}][{key!r}] is not a list of names."
    if not any(lists.values()):
        return f"[{name!r}] names no database and no tree."
    return ""


def _is_list_of_names(names: Any) -> bool:
    return isinstance(names, (list, tuple)) and all(isinstance(one, str) for one in names)
