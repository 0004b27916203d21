"""The options ``--fleet`` and ``--join`` of ``restore_all`` and ``undo_restore``: all hosts together."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from igny8_backup.celery.send import send_task
from igny8_backup.common.humanize import count_in_words, size_in_words
from igny8_backup.errors import LockedError, UnfinishedError, UsageError
from igny8_backup.formats.documents.fleet_restore import RESTORE, SWAPPED, UNDO, HostRestore, Replaced
from igny8_backup.management.base import BackupCommand, seconds
from igny8_backup.management.confirm import confirm_database, require_typed
from igny8_backup.management.output import labelled
from igny8_backup.operations.context import open_context
from igny8_backup.operations.fleet.request import END_WITHIN, START_WITHIN
from igny8_backup.operations.fleet.restore.coordinate import coordinating, settle_earlier
from igny8_backup.operations.fleet.restore.host import run_host_restore
from igny8_backup.operations.fleet.restore.host_request import HostRequest
from igny8_backup.operations.fleet.restore.request import (
    FleetRestorePlan,
    FleetRestoreRequest,
    FleetRestoreResult,
)
from igny8_backup.operations.restore.workers import WorkersPolicy

_TAKEN = frozenset(
    ["id", "stamp", "fleet", "join", "by_hand", "start_within", "end_within", "dry_run", "wait", "workers"]
    + ["stop_timeout", "no_migrate", "interactive", "database_name", "allow_vulnerable_tools"]
)
"""The options that a fleet restore takes."""
_JOIN = frozenset(["join", "identity", "wait", "allow_vulnerable_tools"])
"""The options that the part of one host takes."""
_COMMON = frozenset(
    ["json", "verbosity", "settings", "pythonpath", "traceback", "no_color", "force_color", "skip_checks"]
    + ["stdout", "stderr"]
)
"""The options of every command."""


def add_fleet_options(parser: ArgumentParser) -> None:
    """Add ``--fleet`` and the options that belong to it, and ``--join``."""
    group = parser.add_argument_group("several hosts together")
    exclusive = group.add_mutually_exclusive_group()
    text = "Do this on all hosts of a fleet backup, over their Celery workers: all of them change, or none."
    exclusive.add_argument("--fleet", action="store_true", help=text)
    text = "Do the part of this host by hand, in a restore that was begun with --fleet --by-hand HOST."
    exclusive.add_argument("--join", metavar="ID", default="", help=text)
    text = "With --fleet: send no task to this host, where an operator runs --join. Repeat for each host."
    group.add_argument("--by-hand", action="append", default=[], metavar="HOST", help=text)
    for option, default, text in (
        ("--start-within", START_WITHIN, "With --fleet: how long a host may take to answer."),
        ("--end-within", END_WITHIN, "With --fleet: how long the hosts may take to prepare."),
    ):
        default_seconds = f"{default.total_seconds():.0f}"
        help_text = f"{text} Default: {default_seconds}."
        group.add_argument(option, type=seconds, metavar="SECONDS", help=help_text)


def refuse_without_fleet(options: dict[str, Any]) -> None:
    """Raise ``UsageError`` if an option that needs ``--fleet`` was given without it."""
    for name in ("by_hand", "start_within", "end_within"):
        if options[name] and not options["fleet"]:
            raise UsageError(
                f"{_option(name)} needs --fleet.", hint=f"Add --fleet, or remove {_option(name)}."
            )


def coordinate(
    command: BackupCommand,
    parser: ArgumentParser,
    options: dict[str, Any],
    policy: WorkersPolicy,
    action: str,
) -> int:
    """Restore or undo on all hosts together, as ``action`` says; return the exit status."""
    _refuse_others(parser, options, _TAKEN, "--fleet")
    request = FleetRestoreRequest(
        action=action,
        id=options.get("id") or options.get("stamp") or "",
        by_hand=tuple(dict.fromkeys(options["by_hand"])),
        workers=policy,
        migrate=not options.get("no_migrate"),
        allow_vulnerable=bool(options.get("allow_vulnerable_tools")),
        start_within=_time(options["start_within"], START_WITHIN),
        end_within=_time(options["end_within"], END_WITHIN),
    )
    with command.progress() as shown, open_context(progress=shown, wait=options["wait"]) as context:
        result = None if options["dry_run"] else settle_earlier(context, send_task)
        if result is None:
            with coordinating(context, request, send_task) as coordinator:
                plan = coordinator.plan()
                if not command.show_plan(
                    plan, _plan_lines(plan), _plan_as_json(plan), dry_run=options["dry_run"]
                ):
                    return 0
                _confirm(command, plan, options)
                result = coordinator.execute(plan)
    return _show(command, result)


def join(command: BackupCommand, parser: ArgumentParser, options: dict[str, Any]) -> int:
    """Do the part of this host in a fleet restore or undo; return the exit status."""
    _refuse_others(parser, options, _JOIN, "--join")
    with (
        command.progress() as shown,
        open_context(progress=shown, wait=options["wait"], healing=True) as context,
    ):
        request = HostRequest(
            restore=options["join"],
            host=context.config.host,
            identity_file=options.get("identity"),
            allow_vulnerable=bool(options.get("allow_vulnerable_tools")),
        )
        result = run_host_restore(context, request)
    if result is None:
        raise LockedError(
            f"Another process is doing the part of this host in the fleet restore {options['join']}.",
            hint="Wait for that process. If it is a worker, name this host in --by-hand next time.",
        )
    command.show_json({"host": result})
    command.warn(
        *(f"  {text}" for text in result.blockers), *(f"WARNING: {text}" for text in result.warnings)
    )
    command.say(f"The part of {result.host} in the fleet restore {result.id}: {result.state}.")
    if result.state != SWAPPED:
        command.say("Nothing live was changed on this host.")
        return 4
    return 3 if result.warnings else 0


def _refuse_others(parser: ArgumentParser, options: dict[str, Any], taken: frozenset[str], what: str) -> None:
    """Raise ``UsageError`` for an option of the command that cannot be combined with ``what``."""
    for name, given in options.items():
        if name not in taken | _COMMON and given != parser.get_default(name):
            raise UsageError(
                f"{_option(name)} cannot be combined with {what}.", hint=f"Remove {_option(name)}."
            )


def _confirm(command: BackupCommand, plan: FleetRestorePlan, options: dict[str, Any]) -> None:
    """Ask the operator to confirm what is replaced on all hosts. Raises ``UsageError`` for a refusal."""
    undo = plan.record.action == UNDO
    databases = [part for part in plan.parts if part.place and (part.vanishes if undo else not part.empty)]
    for name in dict.fromkeys(part.place for part in databases):
        confirm_database(command, options, name)
    files = [part for part in plan.parts if not part.place and (part.vanishes if undo else not part.empty)]
    if files and not databases and options["interactive"]:
        hosts = count_in_words(len(plan.hosts), "host")
        word = plan.record.action
        question = f"Type {word} to replace the files of {hosts}: "
        require_typed(command, options, word, question=question, what=f"Replacing the files of {hosts}")


def _plan_lines(plan: FleetRestorePlan) -> Iterator[str]:
    record, hosts = plan.record, count_in_words(len(plan.hosts), "host")
    if record.action == RESTORE:
        yield f"Plan: restore the fleet backup {record.fleet} on {hosts}, as the fleet restore {record.id}"
    else:
        yield f"Plan: undo the fleet restore {record.undoes} on {hosts}"
    yield from (f"  {labelled(note)}" for note in plan.notes)
    for host in plan.hosts:
        yield f"  host {host.host}"
        yield from (f"    {_part(part, undo=record.action == UNDO)}" for part in host.parts)
        yield from (f"    NOTE: {note}" for note in host.notes)


def _part(part: Replaced, *, undo: bool) -> str:
    what = f"{part.kind} {part.name}"
    size, to = size_in_words(part.bytes), f" to {part.place}" if part.place else ""
    if undo:
        return f"{what}: {'NOTHING comes back' if part.vanishes else f'{size} comes back'}{to}"
    fate = "" if part.empty else ", which is REPLACED" if part.place else ", whose files are REPLACED"
    return f"{what}: from {part.backup_id} ({size}){to}{fate}"


def _plan_as_json(plan: FleetRestorePlan) -> dict[str, Any]:
    return {
        "fleet_restore": plan.record,
        "hosts": plan.hosts,
        "notes": plan.notes,
        "obstacles": plan.blockers,
    }


def _show(command: BackupCommand, result: FleetRestoreResult) -> int:
    """Show what has become live on each host. Raises ``UnfinishedError`` if a host has not swapped."""
    record = result.record
    as_json = {"hosts": result.hosts, "resumed": result.resumed, "stopped": result.stopped}
    command.show_json({"fleet_restore": record, **as_json})
    if result.resumed:
        command.say("An earlier fleet restore was completed. Run the command again for another one.")
    command.say(*(f"  {line}" for host in result.hosts for line in _host_lines(host)))
    if result.stopped:
        command.say(f"Stopped these Celery workers; start them again: {', '.join(result.stopped)}.")
    command.warn(*(f"WARNING: {warning}" for warning in result.warnings))
    if not result.complete:
        listed = "\n".join(f"  - {problem}" for problem in result.problems)
        raise UnfinishedError(
            f"The fleet restore {record.id} is not complete on every host:\n{listed}\n",
            unchanged="On each host, each database and tree is entirely the previous or the new one.",
            hint="Run restore_all on each of these hosts, or run this command again: both complete what the"
            " journal of the host says.",
        )
    if record.action == RESTORE:
        command.say(
            f"Restored the fleet backup {record.fleet} on {count_in_words(len(result.hosts), 'host')}.",
            "Next: start the application, its workers and beat again.",
            f"To undo the restore on all hosts: python manage.py undo_restore --fleet {record.id}",
        )
    else:
        command.say("The data from before the fleet restore is live again on all hosts.")
    return 3 if result.warnings else 0


def _host_lines(host: HostRestore) -> Iterator[str]:
    stamp = f", restore {host.stamp} there" if host.stamp else ""
    yield f"{host.host}: {host.state}{stamp}"


def _time(given: float | None, default: timedelta) -> timedelta:
    return default if given is None else timedelta(seconds=given)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
