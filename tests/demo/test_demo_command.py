"""``manage.py demo`` as its users run it, on a small scale."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import pytest
from demo.installed import installed
from demo.story import MAJOR

from tests.docs.output import skeleton
from tests.docs.pages import page
from tests.services import unavailable
from tests.services.project import MANAGE

pytestmark = pytest.mark.services

# A shell that has another project's settings in it: none of them may reach the demo.
SHELL = {
    "PATH": os.environ.get("PATH", os.defpath),
    "DATABASE_URL": "nonsense",
    "DJANGO_DEBUG": "perhaps",
    "DJANGO_SETTINGS_MODULE": "another.project",
    "PGHOST": "db.example",
    "PGSERVICE": "production",
    "IGNY8_BACKUP_FOLDER": "/nowhere",
    "IGNY8_BACKUP_S3_BUCKET": "production",
}


@pytest.fixture
def argv(tmp_path: Path) -> list[str | Path]:
    if installed(MAJOR) is None:
        unavailable(f"PostgreSQL {MAJOR} is not installed.")
    size = ["--rows", "2000", "--files", "60"]
    return [sys.executable, MANAGE, "demo", *size, "--folder", tmp_path / "demo"]


def test_demo_succeeds_and_serves_the_page_when_run_again(argv: list[str | Path], tmp_path: Path) -> None:
    done = subprocess.run(argv, env=SHELL, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("database", "sites-data", "uploads"):
        assert f"  {name}: equal" in done.stdout
    assert _as_on_any_machine(done.stdout, tmp_path / "demo") == _as_on_any_machine(_shown(), SHOWN_FOLDER)
    assert list((tmp_path / "demo/storage").rglob("manifest.json"))
    served = [*argv, "--serve"]
    with subprocess.Popen(
        served, env=SHELL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Quit the server" in line:
                break
        text = "".join(lines)
        try:
            page = _logged_in(*re.findall(r"Open (http://\S+)\n  user +(\S+)\n  password +(\S+)", text)[0])
        finally:
            process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 130, text + rest
    assert "Newest good backup of each database and tree" in page
    assert "database default of demo" in page and "Set aside by restores on demo" in page
    assert not (tmp_path / "demo/server").exists() and not (tmp_path / "demo/server-folder").exists()


SHOWN_FOLDER = Path("/home/op/igny8_backup/testproject/.demo")


def _shown() -> str:
    """Return what the page about the demo says that it prints."""
    found = re.search(r"<!-- demo -->\n```text\n(.*?)```\n<!-- /demo -->", page("demo"), re.DOTALL)
    assert found is not None
    return found[1]


def _as_on_any_machine(text: str, folder: Path) -> list[str]:
    """Return the sorted lines without ids, keys, sizes, numbers and paths."""
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text.replace(str(folder), "FOLDER"))
    for pattern, word in (
        (r"age1\w+|AAAA\S+", "KEY"),
        (r"--(rows|files)=\d+", r"--\1=N"),
        (r"\S*(pg_restore|bin/python\S* \S*manage\.py)", r"\1"),
        (r"python\S* \S*manage\.py", "python manage.py"),
    ):
        text = re.sub(pattern, word, text)
    return [line for line in skeleton(text) if line]


def _logged_in(url: str, user: str, password: str) -> str:
    """Log in to the admin; return the page."""
    cookies = CookieJar()
    opener = build_opener(HTTPCookieProcessor(cookies))
    with opener.open(url) as login:
        address = login.url
    token = next(cookie.value for cookie in cookies if cookie.name == "csrftoken")
    form = {"username": user, "password": password, "csrfmiddlewaretoken": token, "next": url}
    with opener.open(address, urlencode(form).encode()) as page:
        return str(page.read(), "utf-8")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_stopped_leaves_no_server(
    argv: list[str | Path], tmp_path: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        argv, env=SHELL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("2."):
                break
        base = _server_folder(tmp_path / "demo")
        pid = int((base / "data/postmaster.pid").read_text().split()[0])
        process.send_signal(number)
        rest = process.stdout.read()
    assert process.returncode == 130, rest
    assert "Stopped" in rest and "Traceback" not in rest.rsplit("Stopped", 1)[1]
    assert not base.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def _server_folder(folder: Path) -> Path:
    elsewhere = folder / "server-folder"
    return Path(elsewhere.read_text()) if elsewhere.is_file() else folder / "server"
