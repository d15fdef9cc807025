"""The page in headless Chromium: expressions in order, per person, through breaks, slow networks and closed tabs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fer_edge import ExpressionTracker
from fer_edge.live import LiveSession
from fer_edge.live.server import PageServer
from fer_edge.video import open_source, source
from tests.browser import COLOR_SCHEMES, ColorScheme
from tests.live.people import ORDER, acted_frames
from tests.live.relay import Relay
from tests.video.clips import Frame, HttpCamera, wait_until, write_clip

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.xdist_group("live sessions")  # one process, which opens the networks once
MakeTracker = Callable[[], ExpressionTracker]
WIDTHS = {"desktop": 1280, "phone": 390}
# The script collects what a person at the page would see, each time that it changes.
WATCH = """
window.history_of_people = {};
new MutationObserver(() => {
  for (const card of document.querySelectorAll(".person:not(.away)")) {
    const list = (window.history_of_people[card.dataset.id] ??= []);
    const label = card.querySelector(".label").textContent;
    if (list[list.length - 1] !== label) list.push(label);
  }
}).observe(document, { subtree: true, childList: true, characterData: true });
"""


@dataclass
class Tab:
    """Page in a browser, and what its console has."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def wait(self, condition: str) -> None:
        # Playwright's own wait needs `eval`, which the page's Content Security Policy forbids.
        wait_until(lambda: self.page.evaluate(condition))


@contextmanager
def opened(browser: Browser, url: str, width: int = 1280, scheme: ColorScheme = "light") -> Iterator[Tab]:
    with browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme) as context:
        tab = Tab(context.new_page())
        tab.page.on("console", lambda message: tab.complaints.append(f"{message.type}: {message.text}"))
        tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.page.on("request", lambda request: tab.complaints.extend([request.url] * (not request.url.startswith(url))))
        tab.page.add_init_script(WATCH)
        tab.page.goto(url)
        yield tab


@contextmanager
def running(session: LiveSession) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=session.run)
    thread.start()
    try:
        yield thread
    finally:
        session.stop()
        thread.join()


def camera_session(camera: HttpCamera, make_tracker: MakeTracker, page: PageServer) -> LiveSession:
    return LiveSession(open_source(camera.url), make_tracker(), [page])


def test_page_shows_a_person(browser: Browser, make_tracker: MakeTracker, happy: Frame, tmp_path: Path) -> None:
    """Check the page for an astronaut at phone width; the slow tests show more."""
    server = PageServer()
    clip = open_source(write_clip(tmp_path / "clip.mp4", [happy] * 8), pace=True)
    with LiveSession(clip, make_tracker(), [server]) as session, opened(browser, server.url, WIDTHS["phone"]) as tab:
        assert server.wait_for_viewer(10)
        session.run()
        tab.wait("document.querySelector('#status').dataset.status === 'ended'")
        assert tab.text(".person .label").lower() == "happiness" and tab.text("#title") == "clip.mp4"
        assert tab.page.evaluate("document.querySelector('#lanes canvas').ariaLabel") == "happiness"
        assert tab.page.evaluate("[video.width, video.height]") == [240, 240]
        assert tab.page.evaluate("document.documentElement.scrollWidth") == WIDTHS["phone"]
        session.close()
        assert not tab.complaints


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("scheme", COLOR_SCHEMES)
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_six_expressions_in_order_per_person(
    browser: Browser, make_tracker: MakeTracker, ferplus: Path, tmp_path: Path, width: int, scheme: ColorScheme
) -> None:
    people: Sequence[Sequence[str]] = (ORDER, ORDER[3:] + ORDER[:3])
    clip = write_clip(tmp_path / "clip.mp4", acted_frames(ferplus, *people, each=12))
    server = PageServer()
    with (
        LiveSession(open_source(clip, pace=True), make_tracker(), [server]) as session,
        opened(browser, server.url, width, scheme) as tab,
    ):
        assert server.wait_for_viewer(10)
        session.run()
        tab.wait("document.querySelector('#status').dataset.status === 'ended'")
        histories = tab.page.evaluate("window.history_of_people")
        assert sorted(histories.values()) == sorted(map(list, people))
        lanes: list[str] = tab.page.evaluate("[...document.querySelectorAll('#lanes canvas')].map(c => c.ariaLabel)")
        assert sorted(lane.split(", ") for lane in lanes) == sorted(map(list, people))
        assert tab.page.evaluate("document.documentElement.scrollWidth") == width
        session.close()
        assert not tab.complaints


@pytest.mark.slow
def test_camera_that_is_pulled_is_reported_and_comes_back(
    browser: Browser, make_tracker: MakeTracker, happy: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "FIRST_WAIT", 0.1)
    server = PageServer()
    with (
        HttpCamera([happy], rate=20).running() as camera,
        camera_session(camera, make_tracker, server) as session,
        opened(browser, server.url) as tab,
        running(session),
    ):
        tab.wait("document.querySelector('#status-text').textContent === 'Live'")
        camera.plugged.clear()
        tab.wait("document.querySelector('#status-text').textContent === 'Reconnecting'")
        assert "Trying to connect again" in tab.text("#notice") and camera.url in tab.text("#notice")
        assert tab.page.query_selector(".person") is None
        camera.plugged.set()
        tab.wait("document.querySelector('#status-text').textContent === 'Live'")
        assert tab.page.is_hidden("#notice")
        tab.wait("document.querySelector('.person .label').textContent === 'happiness'")
        assert not tab.complaints


@pytest.mark.slow
def test_tab_that_is_closed_and_opened_again_has_the_timelines(
    browser: Browser, make_tracker: MakeTracker, happy: Frame
) -> None:
    server = PageServer()
    with (
        HttpCamera([happy], rate=20).running() as camera,
        camera_session(camera, make_tracker, server) as session,
        running(session),
    ):
        with opened(browser, server.url) as tab:
            tab.wait("document.querySelector('.person') !== null")
        wait_until(lambda: not server._viewers)
        count = session.summary().frames
        wait_until(lambda: session.summary().frames > count + 20)  # a second without a page
        with opened(browser, server.url) as tab:
            tab.wait("document.querySelector('.person') !== null")
            # Person 1 has one span that began before the page was opened again.
            since = float(tab.text(".person .since").removesuffix(" s"))
            assert "Unsure" in tab.text("#legend")
            assert tab.text(".person .badge") == "1" and since > 1 and not tab.complaints


@pytest.mark.slow
def test_slow_network_skips_frames_and_a_cut_is_reported(
    browser: Browser, make_tracker: MakeTracker, happy: Frame
) -> None:
    server = PageServer()
    with (
        HttpCamera([happy], rate=30).running() as camera,
        camera_session(camera, make_tracker, server) as session,
        Relay(int(server.url.split(":")[2].split("/")[0]), speed=1e6).running() as relay,
        running(session),
    ):
        url = f"http://127.0.0.1:{relay.port}/{server.url.split('/')[3]}/"
        with opened(browser, url) as tab:
            tab.wait("document.querySelector('.person') !== null")
            relay.speed = 60e3  # about five frames a second
            tab.wait("Number(document.querySelector('#skipped').textContent) > 30")
            tab.wait("document.querySelector('#notice').textContent.startsWith('This page is slow')")
            relay.cut()
            tab.wait("document.querySelector('#status').dataset.status === 'lost'")
            assert "start it again and open its new address" in tab.text("#notice")
            relay.speed = 1e6
            tab.wait("document.querySelector('#status').dataset.status === 'connected'")
            assert [text for text in tab.complaints if "WebSocket" not in text] == []
