"""Finding client programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from igny8_backup.databases.postgresql.clients import find_client, major_of, require_major
from igny8_backup.errors import ToolError, ToolMissingError, ToolTooOldError
from tests.databases.fakes import fake


def test_find_client_searches_only_configured_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configured = fake(tmp_path / "configured", "pg_dump", "", version="17.4")
    fake(tmp_path / "path", "pg_dump", "", version="18.0")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    client = find_client("pg_dump", server_major=18, bin_dir=tmp_path / "configured")
    assert (client.path, client.version, client.major) == (configured, "17.4", 17)
    with pytest.raises(ToolMissingError, match="no pg_restore in .*CLIENT_BIN_DIR"):
        find_client("pg_restore", server_major=18, bin_dir=tmp_path / "configured")


def test_find_client_falls_back_to_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fake(tmp_path / "path", "pg_dump", "", version="19devel")
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/usr/bin:/bin")
    client = find_client("pg_dump", server_major=99, bin_dir=None)
    assert (client.path, client.version, client.major) == (found, "19devel", 19)


def test_find_client_without_program_names_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match="postgresql-client-99"):
        find_client("pg_dump", server_major=99, bin_dir=None)
    with pytest.raises(ToolMissingError, match="postgresql-client-18"):
        find_client("pg_dump", server_major=18, bin_dir=tmp_path / "missing")


def test_find_client_with_unknown_version_raises(tmp_path: Path) -> None:
    path = tmp_path / "pg_dump"
    path.write_text("#!/bin/sh\necho hello\n")
    path.chmod(0o755)
    with pytest.raises(ToolError, match="printed 'hello'"):
        find_client("pg_dump", server_major=18, bin_dir=tmp_path)
    path.chmod(0o644)
    path.write_text("#!/bin/sh\necho not even executable\n")
    with pytest.raises(ToolError, match="could not be started"):
        find_client("pg_dump", server_major=18, bin_dir=tmp_path)


def test_require_major_refuses_older_client(tmp_path: Path) -> None:
    fake(tmp_path, "pg_dump", "", version="13.1")
    client = find_client("pg_dump", server_major=15, bin_dir=tmp_path)
    with pytest.raises(ToolTooOldError, match="13.1, and the server is 15.*postgresql-client-15"):
        require_major(client, 15, reason="the server is 15")
    require_major(client, 13, reason="")


def test_major_of_reads_server_versions() -> None:
    assert [major_of(text) for text in ("18.1 (Debian 18.1-1)", "19devel", "16", "")] == [18, 19, 16, 0]
