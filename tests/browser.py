"""A page as a browser shows it: headless Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

ColorScheme = Literal["light", "dark"]
COLOR_SCHEMES: tuple[ColorScheme, ...] = get_args(ColorScheme)
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


@dataclass
class Shown:
    """What came of a page."""

    images: list[str] = field(default_factory=list)  # alternative texts of those that are shown
    broken: list[str] = field(default_factory=list)  # of those that are not
    complaints: list[str] = field(default_factory=list)  # console, errors of scripts, requests that failed, dialogs
    requests: list[str] = field(default_factory=list)  # for anything but the page and what lies in it
    text: str = ""
    scroll_width: int = 0


def find_chromium() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def require_chromium() -> str:
    """Return the path of a Chromium; skip without it, except in CI."""
    executable = find_chromium()
    if executable is None:
        if os.environ.get("FER_EDGE_REQUIRE_SHARED"):
            pytest.fail("Chromium is missing, and FER_EDGE_REQUIRE_SHARED forbids skipping: see .ci/run")
        pytest.skip("needs Chromium or Chrome; on Debian or Ubuntu: apt-get install chromium")
    return executable


@contextmanager
def running_browser(playwright: Playwright, executable: str, arguments: Sequence[str] = ()) -> Iterator[Browser]:
    # Chromium refuses to run its sandbox as root; the pages are our own.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    browser = playwright.chromium.launch(executable_path=executable, args=[*sandbox, *arguments])
    yield browser
    browser.close()


def show(browser: Browser, page: Path, width: int = 1200, scheme: ColorScheme = "light") -> Shown:
    """Open a page from its file, and wait until all its pictures are there or failed."""
    shown = Shown()
    with browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme) as context:
        tab = context.new_page()
        tab.on("console", lambda message: shown.complaints.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: shown.complaints.append(str(error)))
        tab.on("requestfailed", lambda request: shown.complaints.append(f"failed: {request.url[:80]}"))
        tab.on("request", lambda request: shown.requests.append(request.url))
        tab.on("dialog", lambda dialog: shown.complaints.append(f"dialog: {dialog.message}"))
        tab.goto(page.as_uri(), wait_until="load")
        images: list[dict[str, Any]] = tab.evaluate(
            "[...document.images].map(i => ({alt: i.alt, good: i.complete && i.naturalWidth > 0 && i.width > 0}))"
        )
        shown.images = [image["alt"] for image in images if image["good"]]
        shown.broken = [image["alt"] for image in images if not image["good"]]
        shown.requests = [url for url in shown.requests if url != page.as_uri() and not url.startswith("data:")]
        shown.text = tab.inner_text("body")
        shown.scroll_width = tab.evaluate("document.documentElement.scrollWidth")
    return shown
