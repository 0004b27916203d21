"""A headless Chromium that tests drive over the WebDriver protocol (https://www.w3.org/TR/webdriver2/)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key of an element's id in answers, a constant of the protocol."""
_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--hide-scrollbars",
)
_SECONDS = 30


def installed() -> bool:
    """Return whether Chromium and its driver are installed: Debian's ``chromium`` and ``chromium-driver``."""
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


def axe_script() -> Path | None:
    """Return the file of axe-core, which finds faults of accessibility; ``None`` if it is not installed.

    ``npm install --global axe-core`` installs it beside a folder of ``PATH``. So does ``npm install`` in a
    folder whose ``node_modules/.bin`` is in ``PATH``.
    """
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    roots = [path.parent if path.name == ".bin" else path.parent / "lib/node_modules" for path in folders]
    files = (root / "axe-core/axe.min.js" for root in roots)
    return next((file for file in files if file.is_file()), None)


class Browser:
    """A Chromium with one window, as a context manager. ``folder`` is for its profile."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._url = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._session = ""

    def __enter__(self) -> Self:
        # Its own session: Ctrl-C ends the browser through quitting, not at once.
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={self._url.rpartition(':')[2]}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait_until_ready()
        options = {"args": [*_ARGUMENTS, f"--user-data-dir={self._folder}"]}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        answer = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{answer['sessionId']}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._session:
                self._ask("DELETE", self._session)
        finally:
            self._driver.terminate()
            self._driver.wait(_SECONDS)

    def open(self, url: str) -> None:
        """Load a page and wait for it."""
        self._do("POST", "/url", {"url": url})

    def type(self, selector: str, text: str) -> None:
        """Type into the element that a CSS selector finds."""
        self._do("POST", f"/element/{self._find(selector)}/value", {"text": text})

    def click(self, selector: str) -> None:
        """Click on the element that a CSS selector finds."""
        self._do("POST", f"/element/{self._find(selector)}/click", {})

    def wait_for(self, text: str) -> None:
        """Wait until the page shows ``text``.

        A click or key that leads to another page returns before that page is loaded.
        """
        deadline = time.monotonic() + _SECONDS
        while text not in self.text:
            if time.monotonic() > deadline:
                raise AssertionError(f"The page does not show {text!r}, but {self.text!r}.")
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Press a key in the element that has the focus."""
        steps = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._do("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": steps}]})

    def run(self, script: str) -> Any:
        """Run a script in the page, and return what it returns."""
        return self._do("POST", "/execute/sync", {"script": script, "args": []})

    def faults(self, axe: Path) -> list[str]:
        """Return the serious faults of accessibility that axe-core finds in the page: rule and element."""
        script = (
            axe.read_text(encoding="utf-8")
            + """
            const done = arguments[arguments.length - 1];
            const text = (item, node) => `${item.id}: ${node.html} ${node.failureSummary}`;
            const texts = (item) => item.nodes.map((node) => text(item, node));
            const serious = (item) => ["serious", "critical"].includes(item.impact);
            axe.run().then((found) => done(found.violations.filter(serious).flatMap(texts)),
                           (error) => done([String(error)]));
            """
        )
        found = self._do("POST", "/execute/async", {"script": script, "args": []})
        return [str(item) for item in found]

    @property
    def text(self) -> str:
        """The text of the page, as a reader sees it."""
        return str(self.run("return document.body ? document.body.innerText : ''"))

    def resize(self, width: int, height: int = 900) -> None:
        """Set the size of the page in pixels; a window could not be as narrow as a telephone."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._develop("Emulation.setDeviceMetricsOverride", size)

    def prefer(self, scheme: str) -> None:
        """Prefer a ``light`` or ``dark`` page."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._develop("Emulation.setEmulatedMedia", {"features": [feature]})

    def problems(self) -> list[str]:
        """Return the errors that the browser has logged since it was asked last, such as broken policies."""
        return [item["message"] for item in self._do("POST", "/se/log", {"type": "browser"})]

    def save(self, file: Path, *, whole: bool = True) -> None:
        """Save a picture as PNG: of the ``whole`` page, or of what is in sight without scrolling."""
        answer = self._develop("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": whole})
        file.write_bytes(base64.b64decode(answer["data"]))

    def _develop(self, command: str, parameters: dict[str, Any]) -> Any:
        return self._do("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _find(self, selector: str) -> str:
        return str(self._do("POST", "/element", {"using": "css selector", "value": selector})[_ELEMENT])

    def _do(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._ask(method, self._session + path, body)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urlopen(request, timeout=_SECONDS) as answer:
                return json.load(answer)["value"]
        except HTTPError as error:
            with error:
                found = json.load(error)["value"]
            raise AssertionError(f"{method} {path}: {found['error']}: {found['message']}") from None

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            try:
                if self._ask("GET", "/status")["ready"]:
                    return
            except URLError:
                time.sleep(0.05)
        raise AssertionError("chromedriver did not start")
