"""A real Chromium for tests: found on this machine, or installed where nothing may be left out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
APT_SECONDS = 300
READY_MS = 60_000
WINDOW: ViewportSize = {"width": 1400, "height": 900}
# Drawing with WebGL has to work without a graphics card.
SWITCHES = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")


def chromium() -> str:
    """Path of the browser; without one the test is skipped, unless TCX_REQUIRE_SLURM says that none may be."""
    required = "TCX_REQUIRE_SLURM" in os.environ
    if found() is None and (required or "CI" in os.environ) and os.geteuid() == 0:
        for step in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
            apt_get(*step)
    path = found()
    if path is None:
        message = f"No browser: none of {', '.join(NAMES)} is on PATH; on Debian `apt-get install chromium` as root."
        if required:
            pytest.fail(message)
        pytest.skip(f"Tests of the page are left out. {message}")
    return path


def found() -> str | None:
    """Path of the first browser that is there."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


def apt_get(*arguments: str) -> None:
    """Runs apt-get, and waits for another one to end: tests on Slurm may install at the same time."""
    end = time.monotonic() + APT_SECONDS
    while True:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(["apt-get", *arguments], env=environment, capture_output=True, text=True)
        if done.returncode == 0:
            return
        if "Could not get lock" not in done.stderr or time.monotonic() > end:
            pytest.fail(f"`apt-get {' '.join(arguments)}` ended with {done.returncode}: {done.stderr}")
        time.sleep(2)


@contextmanager
def started_browser() -> Iterator[Browser]:
    """The browser, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(SWITCHES))
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page, and what it has asked for and complained of."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def opened(browser: Browser, path: Path, **options: Any) -> Opened:
    """The page of a file, once its curves are drawn."""
    context = browser.new_context(viewport=WINDOW, reduced_motion="reduce", **options)
    found = Opened(context.new_page())
    found.page.on("console", lambda message: found.complaints.append(message.text))
    found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
    found.page.on("request", lambda request: found.requests.append(request.url))
    context.route(re.compile("^(?!file:)"), lambda route: route.abort())
    found.page.goto(path.as_uri())
    found.page.wait_for_selector("html[data-ready]", state="attached", timeout=READY_MS)
    return found
