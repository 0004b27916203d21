"""The pages in a real browser: login, narrow and dark, under a strict policy, with markup shown as text."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.conf import get_config
from igny8_backup.operations.status.keep import keep_activity
from tests.services import browser, unavailable
from tests.services.browser import Browser
from tests.services.redis import RedisServer
from tests.web.conftest import PASSWORD, Configure, Keep, make_user, queued
from tests.web.statuses import MARKUP, at_work, backup_id, troubled

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
NOW = datetime.now(UTC)
TAB, ENTER = "\ue004", "\ue007"
"""Keys, as the WebDriver protocol names them."""
ADMIN = "/admin/igny8_backup/backup/"
PAGES = {
    "overview": "",
    "list": "all/",
    "backup": f"{backup_id(0, NOW)}/",
    "run": f"run/{backup_id(0, NOW)}/",
}
SCREENSHOTS = os.environ.get("IGNY8_SCREENSHOTS")
"""A folder that keeps a picture of every page, for people to look at."""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not browser.installed():
        unavailable("Chromium or its driver is not installed.")
    with Browser(tmp_path_factory.mktemp("chromium")) as made:
        yield made


@pytest.fixture
def site(
    chromium: Browser, live_server: Any, keep: Keep, configure: Configure, settings: Any
) -> Iterator[tuple[Browser, str]]:
    """The browser, logged in as somebody who may press all buttons, and the address of the pages."""
    make_user("ada", "view_backup", "run_backup", "verify_backup", "drill_backup", "pin_backup")
    configure(broker_url="redis://127.0.0.1:1/0")  # so that there are buttons
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "STATUS_CACHE": "default"}
    keep(troubled(NOW))
    assert keep_activity(get_config(), at_work(datetime.now(UTC))) == []
    chromium.resize(1440)
    chromium.prefer("light")
    chromium.open(f"{live_server.url}{ADMIN}")
    chromium.type("#id_username", "ada")
    chromium.type("#id_password", PASSWORD)
    chromium.click("input[type=submit]")
    chromium.wait_for("Not all is well")
    chromium.problems()
    yield chromium, live_server.url + ADMIN
    chromium.open("about:blank")  # no request may last longer than the database of the test


@pytest.fixture
def axe() -> Path:
    found = browser.axe_script()
    if found is None:
        unavailable("axe-core is not installed: npm install --global axe-core.")
    return found


def picture(page: Browser, name: str) -> None:
    if SCREENSHOTS:
        Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
        page.save(Path(SCREENSHOTS) / f"{name}.png")


def test_pages_fit_any_width_and_break_no_policy(site: tuple[Browser, str]) -> None:
    page, url = site
    looks = [(1440, "light"), (375, "dark")]
    if SCREENSHOTS:
        looks += [(1440, "dark"), (375, "light")]
    for name, address in PAGES.items():
        for width, scheme in looks:
            page.resize(width)
            page.prefer(scheme)
            page.open(url + address)
            wide = page.run(
                "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert wide == 0, f"{name} at {width} px is {wide} px too wide"
            assert page.problems() == []
            picture(page, f"{name}-{width}-{scheme}")
    if SCREENSHOTS:
        page.resize(1280, 1130)
        page.prefer("light")
        page.open(url)
        page.save(Path(SCREENSHOTS) / "admin-page.png", whole=False)  # for docs/images


def test_pages_have_no_serious_fault_of_accessibility(site: tuple[Browser, str], axe: Path) -> None:
    page, url = site
    for address in PAGES.values():
        for width, scheme in ((1440, "light"), (375, "dark")):
            page.resize(width)
            page.prefer(scheme)
            page.open(url + address)
            page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            assert page.faults(axe) == []


def test_page_shows_names_with_markup_as_text(site: tuple[Browser, str]) -> None:
    page, url = site
    page.open(url + PAGES["list"])
    assert MARKUP in page.text
    assert page.run("return document.querySelectorAll('#content b').length") == 0


def test_keyboard_alone_reaches_the_reason_of_a_failure(site: tuple[Browser, str]) -> None:
    page, url = site
    page.open(url)
    for _ in range(40):
        page.press(TAB)
        if page.run("return document.activeElement.textContent") == "Why, and what to do":
            break
    page.press(ENTER)
    page.wait_for("Not backed up: uploads.")
    assert "Check that the folder is mounted" in page.text


def test_pin_typed_into_the_page_is_queued(site: tuple[Browser, str], broker: RedisServer) -> None:
    page, url = site
    page.open(url + PAGES["backup"])
    page.type("#reason", "before the move")
    page.press(ENTER)
    page.wait_for("was queued, with the reason: before the move")
    picture(page, "queued")
    assert page.problems() == []
    assert queued(broker) == [
        ("igny8_backup.pin_backup", {"backup_id": backup_id(0, NOW), "reason": "before the move"})
    ]
