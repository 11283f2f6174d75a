"""A real browser on the page, and the server as a user starts it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from domains import next_domain
from object_pose.web.app import STATIC

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
AXE = Path(__file__).resolve().parents[2] / ".cache" / "web" / "axe-core" / "axe.min.js"
# Software rendering of WebGL, and nothing asked of the network.
_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
SELECTION_RGB = (255, 176, 32)


def require_browser() -> None:
    """Skip the tests of a module where there is no browser to run them in."""
    pytest.importorskip("playwright", reason="playwright is not installed: make setup-all")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: apt install chromium", allow_module_level=True)
    if not (STATIC / "vendor" / "three").is_dir():
        pytest.skip("the page's libraries are missing: scripts/setup fetches them", allow_module_level=True)


@contextmanager
def chromium() -> Iterator[Any]:
    """Start the browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        yield browser
        browser.close()


@contextmanager
def page_of(browser: Any, **options: Any) -> Iterator[Any]:
    """Open an empty page; the test fails where a script does, or where the page asks for what its policy forbids."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **options})
    page = context.new_page()
    page.set_default_timeout(60_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None)
    yield page
    context.close()
    assert faults == []


class ServerProcess:
    """A command that serves the page, such as ``serve``, started again on the same port after ``stop``."""

    def __init__(self, command: Sequence[str], log: Path, port_option: str = "--port") -> None:
        self._command, self._log, self._port_option = list(command), log, port_option
        # A ROS domain of its own, and a state folder that is not the user's.
        self.state = log.with_name("state")
        domain = {"ROS_DOMAIN_ID": str(next_domain()), "OBJECT_POSE_STATE": str(self.state)}
        self._environment = os.environ | domain
        self.url = ""
        self.start()

    def start(self) -> None:
        port = self.url.rpartition(":")[2] or "0"
        verb, *options = self._command
        words = [sys.executable, "-m", "object_pose.cli.main", verb, self._port_option, port, *options]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True, env=self._environment
            )
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if found := re.search(r"https?://\S+", line):
                self.url = found[0]
                break
        else:
            raise AssertionError(f"no server: {said} {self._log.read_text()}")
        # What it says later must not fill the pipe.
        threading.Thread(target=self._process.stdout.read, daemon=True).start()

    def stop(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def get(self, path: str) -> Any:
        """Return the JSON of a route."""
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)


def eventually(page: Any, condition: Callable[[], bool], limit_s: float = 60.0) -> bool:
    """Return whether the condition comes true."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()) and time.monotonic() < deadline:
        page.wait_for_timeout(200)
    return found


def pixels(locator: Any) -> NDArray[np.uint8]:
    """Return what is seen of an element, (H, W, 3) RGB."""
    encoded = np.frombuffer(locator.screenshot(), np.uint8)
    return np.asarray(cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))


def share_of_selection(picture: NDArray[np.uint8]) -> float:
    """Return the share of pixels in the hue of what is selected."""
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    hue = int(cv2.cvtColor(np.uint8([[SELECTION_RGB]]), cv2.COLOR_RGB2HSV)[0, 0, 0])
    near = (np.abs(hsv[..., 0].astype(int) - hue) <= 4) & (hsv[..., 1] > 150) & (hsv[..., 2] > 150)
    return float(near.mean())


def accessibility_faults(page: Any) -> list[str]:
    """Return what axe-core finds serious or critical on the page as it is."""
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{fault['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for fault in result["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
