"""List the defaults that changed with this release, until a backup of this host has shown notes about them.

:func:`pending` returns the changes. The next backup shows a note about each of them, and ``check --deploy``
reports them as W010. :func:`acknowledge` records that a backup has shown the notes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.common.filesystem import replace_file
from igny8_backup.conf import SETTING, Config

DOCUMENTATION = 'See "What changes for you" in the changelog.'


@dataclass(frozen=True)
class ChangedDefault:
    """A default that changed. ``text`` says what happens now and how to get the old behaviour back.

    ``concerns`` returns whether the change matters to a project with the given settings.
    """

    id: str
    text: str
    concerns: Callable[[Config], bool]


CHANGES: tuple[ChangedDefault, ...] = (
    ChangedDefault(
        "exclude-caches",
        "Folders named __pycache__, .cache or .sass-cache and folders with a file CACHEDIR.TAG are backed up,"
        f" unless {SETTING}['EXCLUDE_CACHES'] names their tree. Set it to True to exclude them from all"
        " trees, as before.",
        lambda config: bool(config.sites or config.logs) and not config.exclude_caches,
    ),
    ChangedDefault(
        "suspect-copies",
        "A copy that is empty, or less than half as large as the good one before it, is suspect: the run ends"
        " with status 3, and retention and restores pass over the copy until accept_backup accepts it."
        f" {SETTING}['SHRINK'] sets other limits.",
        lambda config: True,
    ),
    ChangedDefault(
        "other-server",
        "A copy of a database that comes from another database server than the last one, or that has lost"
        " migrations, is suspect. Before a move, announce it: accept_backup --next.",
        lambda config: bool(config.databases),
    ),
    ChangedDefault(
        "unencrypted-refused",
        "Unencrypted backups from before RECIPIENTS was set are refused when their contents are read, unless"
        " --accept-unencrypted is given.",
        lambda config: bool(config.recipients),
    ),
    ChangedDefault(
        "proven-copy-kept",
        "prune_backups keeps the newest copy of each database and tree that a drill has restored."
        f" Set {SETTING}['RETENTION']['proven'] to 0 to prune it like any other copy.",
        lambda config: config.retention.proven == 1,
    ),
    ChangedDefault(
        "newest-copies-checked",
        "verify_backup and drill_backup without an id check the newest copy of each database and tree of each"
        " host, which may need several backups. An id limits them to that backup.",
        lambda config: True,
    ),
    ChangedDefault(
        "storage-retries",
        "Requests to the storage that fail for a temporary reason are repeated for 15 minutes."
        f" {SETTING}['RETRY_SECONDS'] sets another time.",
        lambda config: True,
    ),
    ChangedDefault(
        "waiting",
        "Tasks, and backups and prune_backups that run without a terminal, wait up to 4 hours for another run"
        " to end. Give --wait 0 (for a task wait=0) to fail at once, as before.",
        lambda config: True,
    ),
    ChangedDefault(
        "vulnerable-tools",
        "restore_all and extract_backup ask for a confirmation where PostgreSQL's programs have known"
        " security holes and nothing proves who made the backup. In a script, give --allow-vulnerable-tools,"
        f" or better, upgrade them, or set {SETTING}['TRUSTED'].",
        lambda config: bool(config.databases) and not config.trust.required,
    ),
    ChangedDefault(
        "drill-role",
        "A drill whose role in DATABASES may create roles connects with a role that is made for it, and does"
        f" not compare owners and privileges. drill_backup --own-server and {SETTING}['DRILL'] compare them.",
        lambda config: bool(config.databases) and config.drill_server is None,
    ),
    ChangedDefault(
        "own-host",
        "restore_all and extract_backup take only files that this host has backed up. Give --from-host HOST"
        " for the files of another host.",
        lambda config: bool(config.sites or config.logs),
    ),
    ChangedDefault(
        "undo-twice",
        "A second undo_restore in a row brings back what the first one replaced. To undo an earlier restore,"
        " give its stamp: undo_restore STAMP.",
        lambda config: True,
    ),
    ChangedDefault(
        "spot-check-scheduled",
        "beat_schedule() also sends spot_check every day. Its alarms stop prune_backups for that database"
        ' or tree until accept_backup. Delete the entry "igny8_backup spot check" to leave it out.',
        lambda config: True,
    ),
    ChangedDefault(
        "unasked-workers",
        "A restore is refused if it cannot find out whether workers of a task queue are running, unless"
        f" --ignore-workers is given. {SETTING}['WORKERS'] can name a function that finds out.",
        lambda config: not config.workers,
    ),
    ChangedDefault(
        "sandbox-network",
        "Migrations and sanitizers that a restore or drill runs can connect to nothing but the databases."
        f" {SETTING}['SANDBOX']['ALLOW'] permits other addresses.",
        lambda config: bool(config.databases) and not config.sandbox.allow,
    ),
    ChangedDefault(
        "dump-jobs",
        "A database of 200 MB or more is dumped over up to three connections, if the server permits it, and"
        f" stored in several archives. Set {SETTING}['DUMP_JOBS'] to 1 for one archive, as before.",
        lambda config: bool(config.databases) and config.dump_jobs is None,
    ),
)
"""All changed defaults. An id must never change, because hosts remember changes by their ids."""


def pending(config: Config) -> tuple[ChangedDefault, ...]:
    """Return the changed defaults about which no backup of this host has shown a note yet.

    Returns nothing for a host that has never run a backup, because nobody there expects the old behaviour.
    """
    if not _ran_before(config.state_dir):
        return ()
    named = _named(config.state_dir)
    return tuple(change for change in CHANGES if change.id not in named and change.concerns(config))


def acknowledge(config: Config) -> None:
    """Record that a backup of this host has shown a note about each change.

    Afterwards :func:`pending` returns nothing. If the record cannot be written, the next backup shows the
    notes again.
    """
    known = {change.id for change in CHANGES}
    if known <= _named(config.state_dir):
        return
    with suppress(OSError):
        replace_file(_file(config.state_dir), json.dumps({"named": sorted(known)}).encode())


def note_first_run(config: Config) -> None:
    """Acknowledge all changed defaults if this is the first run of the package on this host.

    Nobody expects the old behaviour on such a host. Call this before the run takes its lock: the lock file
    in ``STATE_DIR`` is the sign of an earlier run.
    """
    if not _ran_before(config.state_dir):
        acknowledge(config)


def _file(state_dir: Path) -> Path:
    return state_dir / "changed-defaults.json"


def _named(state_dir: Path) -> set[str]:
    try:
        return {str(item) for item in json.loads(_file(state_dir).read_bytes())["named"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _ran_before(state_dir: Path) -> bool:
    """Return whether ``state_dir`` has a lock file of an earlier run. Lock files are never removed."""
    try:
        return any(state_dir.glob("*.lock"))
    except OSError:
        return False
