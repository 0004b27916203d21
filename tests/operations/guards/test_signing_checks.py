"""``check --deploy`` warns where backups are not signed, or where signatures are not required."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from igny8_backup.conf import get_config
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.guards import signing_checks
from igny8_backup.operations.keys.keygen import make_signing_key


@pytest.fixture
def found(context: BackupContext, settings: Any, tmp_path: Path) -> Any:
    """A function that returns the ids and texts of the warnings for a signing key and trusted keys."""
    settings.DEBUG = False
    lines = {name: make_signing_key(tmp_path / name) for name in ("web", "other")}

    def problems(signs: str = "", *trusts: Any) -> list[str]:
        changed = {"TRUSTED": [lines[item] if isinstance(item, str) else item(lines) for item in trusts]}
        signing = {"SIGNING": {"KEY_FILE": tmp_path / signs}} if signs else {}
        settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, **changed, **signing}
        listed = signing_checks.problems(get_config())
        settings.IGNY8_BACKUP.pop("SIGNING", None)
        return [f"{item.id} {item.message} {item.hint}" for item in listed]

    return problems


def test_signing_off_is_reported_with_the_reason_and_the_command(found: Any) -> None:
    (text,) = found()
    assert text.startswith("igny8_backup.W020 Backups are not signed") and "generate_signing_key" in text


def test_signing_without_trusted_and_trusted_without_signing_are_reported(found: Any) -> None:
    (text,) = found("web")
    assert "a forged backup would be read too" in text
    (text,) = found("", "web")
    assert "would not be signed" in text


def test_signing_key_that_does_not_count_is_reported(found: Any, tmp_path: Path) -> None:
    assert found("web", "web") == []
    (text,) = found("web", "other")
    assert "TRUSTED does not name its key" in text and "Add ssh-ed25519 " in text
    (text,) = found("web", lambda lines: {"KEY": lines["web"], "PARTS": ["uploads"]})
    assert "may not sign for sites" in text
    (text,) = found("none", "web")
    assert "The next backup would fail" in text and "cannot be read" in text


def test_signing_off_in_debug_is_not_reported(found: Any, settings: Any) -> None:
    settings.DEBUG = True
    assert found() == []
