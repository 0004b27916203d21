"""The status document: what the page in Django's admin shows about the backups, and the activity document.

Both are kept in a cache of Django and in ``STATE_DIR``. They are made from what can be read without a key, so
they contain nothing about the contents of backups.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class StatusCondition:
    """A condition of ``monitor_backups``. ``of`` is what was checked, such as ``files uploads of web-1``."""

    name: str
    of: str
    ok: bool
    text: str


@dataclass(frozen=True, kw_only=True)
class StatusPart:
    """A database or tree, and its newest copy that can be relied on.

    ``kind`` is ``database`` or ``files``. ``as_of`` is the time of the data in the copy, ``bytes`` the size
    of the copy before compression. If no copy can be relied on, ``backup_id`` is empty and these two fields
    are ``None``. ``max_age`` is how old the copy may be, in seconds; ``None`` allows any age. ``verified``
    and ``drilled`` are the starts of the newest verification and the newest successful drill.
    """

    host: str
    kind: str
    name: str
    max_age: int | None = None
    backup_id: str = ""
    as_of: datetime | None = None
    bytes: int | None = None
    verified: datetime | None = None
    drilled: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class StatusCopy:
    """The copy of a database or tree in one backup.

    ``bytes`` is its size before compression, ``stored_bytes`` the size of all objects that it needs, and
    ``added_bytes`` the size of those that this backup stored. ``files``, ``skipped`` and ``excluded`` count
    the files of a tree; they are ``None`` for a database. ``error`` is the class of the error if the copy
    failed; ``unfit`` says why the copy cannot be relied on; ``reasons`` say why retention keeps it.
    """

    kind: str
    name: str
    state: str
    started: datetime
    as_of: datetime
    seconds: int
    bytes: int
    stored_bytes: int
    added_bytes: int
    codecs: tuple[str, ...] = ()
    files: int | None = None
    skipped: int | None = None
    excluded: int | None = None
    error: str = ""
    unfit: str = ""
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StatusCheck:
    """A verification or drill of a backup: ``depth`` is ``stored``, ``content`` or ``drill``.

    ``objects`` is the number of stored objects of the backup, ``read`` the number that the check read.
    ``damaged`` is the number of damaged objects, including those that only earlier checks have read.
    """

    depth: str
    started: datetime
    seconds: int
    objects: int
    read: int
    damaged: int


@dataclass(frozen=True, kw_only=True)
class StatusBackup:
    """A backup. If its manifest cannot be read, ``problem`` says why, and other fields have their defaults.

    ``untrusted`` says why its signature is not trusted. ``pin`` is the reason of its pin. ``kept`` says
    whether the retention policy keeps the backup, and ``reasons`` why it keeps the backup as a whole.
    """

    id: str
    started: datetime
    finished: datetime | None = None
    host: str = ""
    environment: str = ""
    label: str = ""
    problem: str = ""
    encrypted: bool = True
    untrusted: str = ""
    safety: bool = False
    pin: str = ""
    kept: bool = True
    reasons: tuple[str, ...] = ()
    objects: int = 0
    stored_bytes: int = 0
    copies: tuple[StatusCopy, ...] = ()
    checks: tuple[StatusCheck, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StatusRun:
    """A run of a backup. ``errors`` maps the databases and trees that failed to the classes of the errors.

    ``outcome`` comes from the run record. If the run was killed and could not record one, it is ``died``.
    """

    id: str
    host: str
    label: str
    requested: tuple[str, ...]
    started: datetime
    outcome: str
    finished: datetime | None = None
    errors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StatusBlock:
    """A database or tree whose copies retention does not remove, and the reason."""

    part: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class StatusOrphan:
    """An object that belongs to no backup, and the time since when storage marks it as such."""

    key: str
    since: datetime


@dataclass(frozen=True, kw_only=True)
class StatusRestore:
    """A restore on the host that wrote the status, and the data that this restore keeps.

    ``since`` is when the last swap of the restore began; before a swap, when the restore started. The kept
    data has not been live since then. ``databases`` are the names of the kept databases, ``folders`` the
    paths of the kept folders.
    """

    stamp: str
    phase: str
    since: datetime
    backup_ids: tuple[str, ...]
    databases: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Status:
    """All that the page shows. ``read`` is when the storage was read, by the host ``host``.

    If the storage could not be read later, ``problem`` is the error and ``problem_at`` its time; the other
    fields then describe the last known state. ``read`` is ``None`` if the storage was never read.
    """

    schema: int
    host: str
    environment: str
    storage: str
    read: datetime | None = None
    problem: str = ""
    problem_at: datetime | None = None
    conditions: tuple[StatusCondition, ...] = ()
    parts: tuple[StatusPart, ...] = ()
    backups: tuple[StatusBackup, ...] = ()
    runs: tuple[StatusRun, ...] = ()
    blocked: tuple[StatusBlock, ...] = ()
    orphans: tuple[StatusOrphan, ...] = ()
    restores: tuple[StatusRestore, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Work:
    """Work of a host, such as ``a backup``. ``what`` describes it; ``since`` is when it began.

    ``reported`` is when the host reported last. While the work runs, it reports every few seconds: a host
    that has been silent for minutes was killed. ``step`` is what is being done, such as ``files uploads``. Of
    this step, ``done`` bytes and ``files`` files are done, at ``rate`` bytes per second. ``total`` is an
    estimate of all its bytes, ``None`` if unknown. ``ended`` is when the work ended, and ``error`` the class
    of the error if it failed.
    """

    host: str
    what: str
    since: datetime
    reported: datetime
    step: str = ""
    done: int = 0
    total: int | None = None
    files: int = 0
    rate: int = 0
    ended: datetime | None = None
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Activity:
    """The newest work of each kind on each host. Kept apart from the status, because it changes often."""

    schema: int
    works: tuple[Work, ...] = ()
