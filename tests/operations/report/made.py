"""A report that is made of values, without a storage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from igny8_backup.operations.report.model import (
    SCHEMA,
    AuditReport,
    BackupFacts,
    CheckFacts,
    CopyFacts,
    Finding,
    Gap,
    KeyFact,
    PartFacts,
    PolicyFacts,
    RunFacts,
)
from igny8_backup.retention.policy import Part

NOW = datetime(2026, 11, 22, 1, 15, tzinfo=UTC)
DAY = timedelta(days=1)
ID = "20261121T011500Z-7f3a9c"


def made(*, host: str, database: str, tree: str, free: str, gone: str = "removed") -> AuditReport:
    """Return a report with these names, each in every place that can have one, and with a free text.

    ``gone`` is a part that only the record of an old run names.
    """
    part = Part(host=host, kind="database", name=database)
    copies = (
        CopyFacts(kind="database", name=database, state="complete", bytes=5_000_000),
        CopyFacts(kind="files", name=tree, state="failed", bytes=0, unfit=("damaged",)),
    )
    facts = PartFacts(
        part=part,
        copies=2,
        newest=ID,
        data_from=NOW - DAY,
        bytes=5_000_000,
        max_age_seconds=172_800,
        points=9,
        longest_seconds=400_000,
        gaps=(Gap(begin=NOW - 9 * DAY, end=NOW - 5 * DAY),),
        verified=NOW - DAY,
        drilled=NOW - 2 * DAY,
        recovery_seconds=754,
    )
    return AuditReport(
        schema=SCHEMA,
        created=NOW,
        since=NOW - 90 * DAY,
        redacted=False,
        version="0.1.0",
        environment=free,
        storage=f"{free} bucket",
        policy=PolicyFacts(
            retention={"daily": 14, "within": 0, "proven": 1},
            encrypted=True,
            signatures_required=True,
            locked_days=30,
            verified_seconds=777_600,
            drilled_seconds=None,
        ),
        keys=(
            KeyFact(use="encryption", name="", fingerprint="SHA256:abc"),
            KeyFact(use="trusted", name=f"{host} {free}", fingerprint="SHA256:def", revoked=True),
        ),
        parts=(facts,),
        conditions=12,
        findings=(
            Finding(name="age", of=str(part), text=f"{free} {database}"),
            Finding(name="runs", of=f"host {host}", text=host),
            Finding(name="retention", of="all backups", text=tree),
            Finding(name="storage", of=free, text=free),
        ),
        backups=(
            BackupFacts(
                id=ID,
                started=NOW - DAY,
                host=host,
                seconds=61,
                copies=copies,
                encrypted=True,
                signer=f"{host} {free}",
                stored_bytes=2_000_000,
                pinned=True,
            ),
            BackupFacts(id="20261120T011500Z-7f3a9c", started=NOW - 2 * DAY, problem=f"{free}: {host}"),
        ),
        checks=(
            CheckFacts(
                backup=ID,
                host=host,
                depth="drill",
                started=NOW - DAY,
                seconds=754,
                parts=(database, tree),
                objects=7,
                read=7,
                bytes=9_000_000,
                damaged=0,
                counts=True,
            ),
        ),
        failed_runs=(
            RunFacts(
                id=ID,
                host=host,
                started=NOW - DAY,
                outcome="incomplete",
                requested=(database, tree, gone),
                errors={tree: "FilesError"},
            ),
        ),
    )
