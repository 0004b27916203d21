"""A batch of rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Model

BEGIN = datetime(2026, 1, 5, 8, 30, 0, 123456, UTC)


@dataclass(frozen=True)
class Batch:
    """Rows of one table; ``columns`` are names of model fields as columns are named (``account_id``)."""

    model: type[Model]
    columns: tuple[str, ...]
    rows: Iterable[tuple[Any, ...]]

    @classmethod
    def of(cls, model: type[Model], columns: str, rows: Iterable[tuple[Any, ...]]) -> Batch:
        return cls(model, tuple(columns.split()), rows)


def moment(hours: float) -> datetime:
    return BEGIN + timedelta(hours=hours)
