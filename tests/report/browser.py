"""A real Chromium for tests: found on this machine, or installed where nothing may be left out."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
APT_SECONDS = 300
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
