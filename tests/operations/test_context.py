"""The context: which storage its locks belong to."""

from __future__ import annotations

from typing import Any

import pytest

from igny8_backup.errors import LockedError
from igny8_backup.operations.context import BackupContext, open_context


def test_locked_other_storage_locks_the_own_storage(
    context: BackupContext, settings: Any, tmp_path: Any
) -> None:
    other = {**settings.STORAGES["dbbackup"], "OPTIONS": {"location": str(tmp_path / "other")}}
    settings.STORAGES = {**settings.STORAGES, "production": other}
    with open_context(storage_alias="production") as reader:
        assert reader.store.identity() != context.store.identity()
        with (
            reader.locked("a restore"),
            pytest.raises(LockedError, match="a restore"),
            context.locked("another"),
        ):
            pass
