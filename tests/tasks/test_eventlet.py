"""Tasks in a worker whose threads eventlet has replaced are refused by name."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from igny8_backup import tasks
from igny8_backup.errors import RefusedError


@pytest.mark.parametrize("name", ["backup_all", "prune_backups", "verify_backup", "monitor_backups"])
def test_task_in_a_pool_of_eventlet_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patcher = SimpleNamespace(is_monkey_patched=lambda module: module == "thread")
    monkeypatch.setitem(sys.modules, "eventlet.patcher", patcher)
    with pytest.raises(RefusedError, match="eventlet.*Nothing was read or written.*--pool=prefork"):
        getattr(tasks, name)()
