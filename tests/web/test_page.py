"""The static page in headless Chromium: camera, photo, video, refusals, and nothing that leaves it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import skimage.data
from PIL import Image

from fer_edge._files import sha256
from fer_edge.web.server import SiteServer
from fer_edge.web.site import BUNDLE, DESCRIPTION
from tests.browser import require_chromium, running_browser
from tests.live.people import ORDER, acted_frames
from tests.live.test_page import WATCH
from tests.video.clips import wait_until, write_clip
from tests.web.host import SUB_PATH, Host, camera_arguments, static_host, write_y4m

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Playwright, Route

pytestmark = pytest.mark.xdist_group("page for browsers")
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
SECONDS = 2  # of each expression in front of the camera
RATE = 10  # frames per second of the camera


@dataclass
class Tab:
    """Page in a browser, the messages of its console, and what it requested."""

    page: Page
    host: Host
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)  # addresses outside of the page

    def state(self) -> str:
        state: str = self.page.evaluate("document.body.dataset.state")
        return state

    def wait_for_state(self, state: str, seconds: float = 60) -> None:
        wait_until(lambda: self.state() in (state, "failed"), seconds)
        assert self.state() == state, self.page.inner_text("main")

    def wait(self, condition: str, seconds: float = 60) -> None:
        # Playwright's own wait needs `eval`, which the page's Content Security Policy forbids.
        wait_until(lambda: self.page.evaluate(condition), seconds)

    def connections(self) -> list[str]:
        """Return whether the page and the worker of the recognition can connect to their host: "open" or "refused"."""
        code = f"fetch('{self.host.url}').then(() => 'open', () => 'refused')"
        # Others are threads of WebAssembly, which wait for work and answer nothing.
        workers = [worker for worker in self.page.workers if worker.url.startswith("blob:")]
        return [self.page.evaluate(code), *(worker.evaluate(code) for worker in workers)]


@contextmanager
def opened(
    browser: Browser,
    host: Host,
    size: tuple[int, int] = SIZES["desktop"],
    permissions: tuple[str, ...] = (),
    cores: int = 2,
) -> Iterator[Tab]:
    width, height = size
    with browser.new_context(viewport={"width": width, "height": height}, permissions=[*permissions]) as context:
        tab = Tab(context.new_page(), host)
        tab.page.on("console", lambda message: tab.complaints.append(f"{message.type}: {message.text}"))
        tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        context.on("request", lambda request: tab.foreign.extend([request.url] * (not is_inside(request.url, host))))
        tab.page.add_init_script(WATCH)
        tab.page.add_init_script(f"Object.defineProperty(navigator, 'hardwareConcurrency', {{ value: {cores} }})")
        tab.page.goto(host.url)
        yield tab


def is_inside(url: str, host: Host) -> bool:
    return url.removeprefix("blob:").startswith((host.url.partition(SUB_PATH)[0], "data:"))


@contextmanager
def local_host(files: Mapping[str, bytes]) -> Iterator[Host]:
    """Serve a page as `fer-edge web --serve` does."""
    server = SiteServer(files)
    try:
        yield Host(server.open())
    finally:
        server.close()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Return a picture of one happy person."""
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def host(web_root: Path) -> Iterator[Host]:
    with static_host(web_root) as running:
        yield running


@pytest.fixture(scope="module")
def camera_browser(
    playwright: Playwright, ferplus: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    """Return a Chromium whose camera shows a person with six expressions, without end."""
    frames = acted_frames(ferplus, ORDER, each=SECONDS * RATE)
    file = write_y4m(tmp_path_factory.mktemp("camera") / "faces.y4m", frames, RATE)
    with running_browser(playwright, require_chromium(), camera_arguments(file)) as running:
        yield running


@pytest.fixture(scope="module")
def pattern_browser(playwright: Playwright) -> Iterator[Browser]:
    """Return a Chromium with two cameras that show moving patterns."""
    with running_browser(
        playwright, require_chromium(), ["--use-fake-device-for-media-stream=device-count=2"]
    ) as running:
        yield running


def test_damaged_bundle_is_reported(browser: Browser, site_files: dict[str, bytes]) -> None:
    """Check that the page runs up to the check of a tiny file; the slow tests show more."""
    site = json.loads(site_files[DESCRIPTION])
    site["load"] = {"bundle": BUNDLE}
    site["files"][BUNDLE] = {"size": 7, "sha256": "0" * 64}
    files = {**site_files, BUNDLE: b"damaged", DESCRIPTION: json.dumps(site).encode()}
    with local_host(files) as host, opened(browser, host, SIZES["phone"]) as tab:
        tab.wait("document.body.dataset.state === 'failed'")
        text = tab.page.inner_text("#explanation")
        assert text.startswith(f"The file {BUNDLE} is damaged: it has SHA-256 ")
        assert "write the page again with fer-edge web" in text and tab.page.is_hidden("#start")
        assert tab.page.evaluate("document.documentElement.scrollWidth") == SIZES["phone"][0]
        assert not tab.foreign


@pytest.mark.slow
def test_damaged_files_are_refused(browser: Browser, site_files: dict[str, bytes]) -> None:
    """Check a flipped bit against site.json, and against the bundle's own manifest."""
    data = bytearray(site_files[BUNDLE])
    data[len(data) // 2] ^= 1
    site = json.loads(site_files[DESCRIPTION])
    site["files"][BUNDLE]["sha256"] = sha256(bytes(data))
    for description, message in (
        (site_files[DESCRIPTION], f"The file {BUNDLE} is damaged: it has SHA-256 "),
        (json.dumps(site).encode(), 'The bundle is damaged: member "model.onnx" differs'),
    ):
        files = {**site_files, BUNDLE: bytes(data), DESCRIPTION: description}
        with local_host(files) as host, opened(browser, host) as tab:
            tab.wait("document.body.dataset.state === 'failed'")
            assert tab.page.inner_text("#explanation").startswith(message)


@pytest.mark.slow
def test_isolated_page_has_threads(browser: Browser, site_files: dict[str, bytes], photo: Path) -> None:
    with local_host(site_files) as host, opened(browser, host, cores=4) as tab:
        tab.wait_for_state("ready")
        assert tab.page.inner_text("#engine").endswith("WebAssembly, 2 threads")
        tab.page.set_input_files("#file", photo)
        tab.wait("document.querySelector('.person .label')?.textContent === 'happiness'")
        assert tab.connections() == ["refused", "refused"] and len(tab.page.workers) == 2


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_camera_shows_six_expressions_in_order(camera_browser: Browser, host: Host, size: tuple[int, int]) -> None:
    with opened(camera_browser, host, size, ("camera",)) as tab:
        tab.wait_for_state("ready")
        loaded = len(host.requests)
        tab.page.click("#start")
        tab.wait_for_state("live")
        cycle = "|".join([*ORDER, *ORDER])
        # From any moment on, the camera shows the expressions in this order.
        tab.wait(
            f"Object.values(window.history_of_people).some(labels => labels.filter(label => label !== 'unsure')"
            f".slice(-{len(ORDER)}).length === {len(ORDER)} && '{cycle}'.includes("
            f"labels.filter(label => label !== 'unsure').slice(-{len(ORDER)}).join('|')))"
        )
        assert tab.connections() == ["refused", "refused"]
        assert tab.page.inner_text("#announcement") and tab.page.evaluate(
            "document.querySelector('#lanes canvas').ariaLabel.split(', ').length >= 6"
        )
        assert float(tab.page.inner_text("#work").removesuffix(" ms")) > 0
        assert tab.page.evaluate("document.documentElement.scrollWidth") == size[0]
        tab.page.click("#stop")
        tab.wait_for_state("ready")
        assert tab.page.evaluate("video.srcObject") is None and tab.page.query_selector(".person") is None
        assert len(host.requests) == loaded and not tab.foreign
        assert [text for text in tab.complaints if "Content Security Policy" not in text] == []


@pytest.mark.slow
def test_photo_video_and_other_files(browser: Browser, host: Host, photo: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.webm", [skimage.data.astronaut()[:240, 80:320]] * 25, codec="libvpx")
    drop = (
        "const data = new DataTransfer(); data.items.add(new File(['notes'], 'notes.txt', { type: 'text/plain' }));"
        "document.dispatchEvent(new DragEvent('drop', { dataTransfer: data }))"
    )
    with opened(browser, host) as tab:
        tab.wait_for_state("ready")
        tab.page.set_input_files("#file", photo)
        tab.wait("document.querySelector('.person') !== null")
        assert tab.state() == "photo" and tab.page.inner_text(".person .label").lower() == "happiness"
        assert tab.page.inner_text("#announcement") == "happiness" and tab.page.is_hidden("#history")
        tab.page.evaluate(f"(() => {{ {drop} }})()")
        tab.wait_for_state("ready")
        assert tab.page.inner_text("#notice") == "notes.txt is not a photo or video that this browser can read."
        tab.page.set_input_files("#file", clip)
        tab.wait("document.querySelector('.person') !== null")
        assert tab.page.is_hidden("#notice") and tab.page.inner_text(".person .label").lower() == "happiness"
        tab.wait_for_state("ended")
        assert not tab.foreign and not [text for text in tab.complaints if "InvalidStateError" not in text]


@pytest.mark.slow
def test_missing_camera_is_explained(browser: Browser, host: Host) -> None:
    with opened(browser, host, permissions=("camera",)) as tab:
        tab.wait_for_state("ready")
        tab.page.click("#start")
        tab.wait_for_state("none")
        assert tab.page.inner_text("#start") == "Try again" and tab.page.is_visible("#open")


@pytest.mark.slow
def test_cameras_without_a_face(pattern_browser: Browser, host: Host) -> None:
    """Check refusal, keyboard, choice of a camera, and the pause of a hidden page."""
    with opened(pattern_browser, host) as tab:
        tab.wait_for_state("ready")
        tab.page.focus("#start")
        tab.page.keyboard.press("Enter")
        tab.wait_for_state("refused")
        assert "settings of this site" in tab.page.inner_text("#explanation")
        tab.page.context.grant_permissions(["camera"])
        tab.page.keyboard.press("Enter")
        tab.wait_for_state("live")
        tab.wait("document.querySelector('#work').textContent.endsWith(' ms')")
        assert tab.page.inner_text("#nobody") == "No face in view" == tab.page.inner_text("#announcement")
        first = tab.page.evaluate("video.srcObject.getVideoTracks()[0].label")
        tab.page.select_option("#camera", index=1)
        tab.wait("video.srcObject !== null && document.body.dataset.state === 'live'")
        assert tab.page.evaluate("video.srcObject.getVideoTracks()[0].label") != first
        assert tab.page.get_attribute("#mirror", "aria-pressed") == "true"
        tab.page.click("#mirror")
        assert tab.page.get_attribute("#mirror", "aria-pressed") == "false"
        hide = (
            "Object.defineProperty(document, 'hidden', {{ configurable: true, value: {} }}) && "
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
        tab.page.evaluate(hide.format("true"))
        tab.wait_for_state("paused")
        tab.page.evaluate(hide.format("false"))
        tab.wait_for_state("live")
        tab.page.evaluate("video.srcObject.getVideoTracks()[0].dispatchEvent(new Event('ended'))")
        tab.wait_for_state("unplugged")
        assert not tab.foreign and not tab.complaints


@pytest.mark.slow
def test_host_without_https_is_explained(browser: Browser, web_root: Path) -> None:
    paths: list[str] = []

    def answer(route: Route) -> None:
        paths.append(urlsplit(route.request.url).path.lstrip("/") or "index.html")
        route.fulfill(path=web_root / SUB_PATH / paths[-1])

    with browser.new_context() as context:
        context.route("http://page.example/**", answer)  # the name of another machine
        page = context.new_page()
        page.goto("http://page.example/")
        wait_until(lambda: page.evaluate("document.body.dataset.state") == "insecure")
        assert page.inner_text("#heading") == "This page needs https" and page.is_hidden("#start")
        assert "page/web.js" in paths and not any(path.startswith("models/") for path in paths)


@pytest.mark.slow
def test_file_explains_that_a_server_is_needed(browser: Browser, web_root: Path) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto((web_root / SUB_PATH / "index.html").as_uri())
        page.wait_for_selector("#notice", state="visible")  # after two seconds without a script
        assert "python3 -m http.server" in page.inner_text("#notice")
