"""Status documents for the tests of the pages: sixty nights of two hosts, on which not everything is well."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from igny8_backup.formats.documents.status import (
    SCHEMA,
    Activity,
    Status,
    StatusBackup,
    StatusBlock,
    StatusCheck,
    StatusCondition,
    StatusCopy,
    StatusOrphan,
    StatusPart,
    StatusRestore,
    StatusRun,
    Work,
)

NOW = datetime(2026, 11, 28, 9, 30, tzinfo=UTC)
NIGHTS = 60
MARKUP = "<b>uploads</b>"
"""A label that a page must show as text."""
_DAY = 86_400
_FAILED_UPLOADS, _DEAD, _DOWN = (0, 1), 17, (30, 31)


def backup_id(night: int, now: datetime = NOW) -> str:
    """Return the id of the run of ``night`` nights ago."""
    return f"{_start(night, now):%Y%m%dT%H%M%SZ}-{night:06x}"


def healthy(now: datetime = NOW, nights: int = NIGHTS) -> Status:
    """Return the status of a host whose nights all went well."""
    backups = tuple(_backup(night, now) for night in range(nights))
    return Status(
        schema=SCHEMA,
        host="web-1",
        environment="production",
        storage="the bucket igny8-backups at s3.example.org, under igny8/",
        read=now - timedelta(minutes=12),
        conditions=(
            _condition("storage", "the bucket igny8-backups", f"{nights} backups"),
            _condition("age", "database default of web-1", "7 hours 15 minutes old; 2 days are allowed"),
            _condition("complete", "files uploads of web-1", "its newest run succeeded"),
            _condition("run", "host web-1", f"{backup_id(0, now)} ended complete"),
        ),
        parts=tuple(
            StatusPart(
                host="web-1",
                kind=kind,
                name=name,
                max_age=2 * _DAY,
                backup_id=backup_id(0, now),
                as_of=_start(0, now),
                bytes=_size(name, 0),
                verified=now - timedelta(days=2),
                drilled=now - timedelta(days=12),
            )
            for kind, name in _PARTS
        ),
        backups=backups,
        runs=tuple(
            StatusRun(
                id=item.id,
                host=item.host,
                label=item.label,
                requested=tuple(copy.name for copy in item.copies),
                started=item.started,
                finished=item.finished,
                outcome="complete",
            )
            for item in backups
            if now - item.started < timedelta(days=60)
        ),
    )


def troubled(now: datetime = NOW) -> Status:
    """Return a status in which ``uploads`` failed on the last two nights, and on others more has failed."""
    status = healthy(now)
    backups = [item for night, item in enumerate(status.backups) if night != _DEAD and night not in _DOWN]
    for night in _FAILED_UPLOADS:
        backups[night] = _without_uploads(backups[night])
    backups[0] = replace(backups[0], label=MARKUP)
    backups[6] = replace(backups[6], pin="before the move to billing 2", reasons=("pinned: before the move",))
    backups[-3:] = [
        replace(item, kept=False, copies=tuple(replace(copy, reasons=()) for copy in item.copies))
        for item in backups[-3:]
    ]
    runs = list(status.runs)
    for night in _FAILED_UPLOADS:
        runs[night] = replace(runs[night], outcome="incomplete", errors={"uploads": "FilesError"})
    runs[_DEAD] = replace(runs[_DEAD], outcome="died", finished=None)
    for night in _DOWN:
        runs[night] = replace(runs[night], outcome="failed", errors={"run": "StorageError"})
    default, sites, uploads = status.parts
    good = backups[2]
    return replace(
        status,
        backups=tuple(backups),
        runs=tuple(runs),
        parts=(default, sites, replace(uploads, backup_id=good.id, as_of=good.started, drilled=None)),
        conditions=(
            *status.conditions[:2],
            _condition("age", "files uploads of web-1", "2 days 7 hours old; 2 days are allowed", ok=False),
            _condition("complete", "files uploads of web-1", "its newest run failed", ok=False),
            _condition("run", "host web-1", f"{backup_id(0, now)} ended incomplete", ok=False),
        ),
        blocked=(StatusBlock(part="files uploads of web-1", reason="its newest run failed"),),
        orphans=tuple(
            StatusOrphan(
                key=f"packs/web-1/uploads/{backup_id(1, now)}-{number:04}.tar.zst.age",
                since=now - timedelta(hours=6),
            )
            for number in range(3)
        ),
        restores=(
            StatusRestore(
                stamp="20261120T101500Z",
                phase="done",
                since=now - timedelta(days=8),
                backup_ids=(backup_id(9, now),),
                databases=("igny8__before_20261120T101500Z",),
                folders=("/srv/sites-data/.before-20261120T101500Z",),
            ),
        ),
    )


def at_work(now: datetime = NOW) -> Activity:
    """Return the activity of a host that makes a backup, after a drill that failed."""
    running = Work(
        host="web-1",
        what="a backup",
        since=now - timedelta(minutes=7),
        reported=now - timedelta(seconds=3),
        step="files uploads",
        done=1_310_000_000,
        total=3_100_000_000,
        files=21_504,
        rate=38_400_000,
    )
    failed = Work(
        host="drill-1",
        what="a drill",
        since=now - timedelta(hours=5),
        reported=now - timedelta(hours=4),
        ended=now - timedelta(hours=4),
        error="IdentityError",
    )
    return Activity(schema=SCHEMA, works=(running, failed))


_PARTS = (("database", "default"), ("files", "sites-data"), ("files", "uploads"))


def _start(night: int, now: datetime) -> datetime:
    return now.replace(microsecond=0) - timedelta(days=night, hours=7)


def _size(name: str, night: int) -> int:
    base = {"default": 4_200_000_000, "sites-data": 730_000_000, "uploads": 3_100_000_000}[name]
    return int(base * (1 - night / 200) * (1 + (night * 7 % 5) / 400))


def _condition(name: str, of: str, text: str, *, ok: bool = True) -> StatusCondition:
    return StatusCondition(name=name, of=of, ok=ok, text=text)


def _backup(night: int, now: datetime) -> StatusBackup:
    started = _start(night, now)
    copies = tuple(_copy(kind, name, night, started) for kind, name in _PARTS)
    check = StatusCheck(
        depth="stored", started=started + timedelta(hours=6), seconds=340, objects=41, read=41, damaged=0
    )
    return StatusBackup(
        id=backup_id(night, now),
        started=started,
        finished=started + timedelta(seconds=sum(copy.seconds for copy in copies)),
        host="web-1",
        environment="production",
        objects=41,
        stored_bytes=sum(copy.stored_bytes for copy in copies),
        copies=copies,
        checks=(check,) if night % 7 == 2 else (),
    )


def _copy(kind: str, name: str, night: int, started: datetime) -> StatusCopy:
    size, tree = _size(name, night), kind == "files"
    return StatusCopy(
        kind=kind,
        name=name,
        state="complete",
        started=started,
        as_of=started,
        seconds=240 + (night * 13) % 90,
        bytes=size,
        stored_bytes=size // 3,
        added_bytes=size // 60 if tree else size // 3,
        codecs=("zstd", "age"),
        files=51_200 if tree else None,
        skipped=0 if tree else None,
        excluded=12 if tree else None,
        reasons=(f"the newest of {started:%Y-%m-%d} (daily)",),
    )


def _without_uploads(backup: StatusBackup) -> StatusBackup:
    *others, uploads = backup.copies
    failed = replace(
        uploads,
        state="failed",
        error="FilesError",
        bytes=0,
        stored_bytes=0,
        added_bytes=0,
        files=0,
        reasons=(),
    )
    failed = replace(failed, codecs=(), excluded=0)
    return replace(backup, copies=(*others, failed))
