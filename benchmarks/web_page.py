"""Size of the page of `fer-edge web`, and its times in headless Chromium: ready, first result, each frame.

    PYTHONPATH=. .venv/bin/python benchmarks/web_page.py [BUNDLE] [--repeats 5] [--seconds 20] [--picture FILE]

This machine serves the page to a browser with an empty cache, so that the times exclude the network; the sizes show
what it adds. The camera shows the photograph of an astronaut at 640 x 480 and 30 Hz. All times are those of the page
itself. "Ready" counts from the request for the page, "first result" from the click that starts the camera to the first
frame with a person. "Work" is the time of one frame in the worker: pixels, face search and mesh, recognition. "Latency"
counts from the presentation of a frame to its result.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import skimage.data
from PIL import Image
from playwright.sync_api import ViewportSize, sync_playwright

from fer_edge.environment import environment
from fer_edge.results import WIDTH as TABLE_WIDTH
from fer_edge.results import Table
from fer_edge.tables import text_of_table
from fer_edge.web import make_site
from fer_edge.web.server import SiteServer
from tests.browser import find_chromium, running_browser
from tests.web.host import camera_arguments, write_y4m

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Playwright

WIDTH, HEIGHT, RATE = 640, 480, 30  # of the camera
VIEWPORT = ViewportSize(width=1180, height=860)
# Groups of files in the table of sizes, by the beginning of their paths.
PARTS = {
    "onnxruntime-web": "onnxruntime-web/",
    "bundle": "models/model.fer",
    "face networks": "models/",
    "page and scripts": "",
}
# Time of each state of the page, and of the first person, in milliseconds since the request for the page.
MOMENTS = """
window.moments = {};
new MutationObserver(() => {
  const now = performance.now();
  window.moments[document.body?.dataset.state] ??= now;
  if (document.querySelector(".person")) window.moments.person ??= now;
}).observe(document, { subtree: true, childList: true, attributes: true });
"""


def main() -> None:
    """Print sizes and times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", nargs="?", default="edge", help="bundle; default: the shipped one")
    parser.add_argument("--repeats", type=int, default=5, help="number of times that the page is opened")
    parser.add_argument("--seconds", type=float, default=20, help="length of the last run with the camera")
    parser.add_argument("--picture", type=Path, help="picture of the page to write at the end (.jpg)")
    arguments = parser.parse_args()
    files = make_site(arguments.bundle)
    print(text_of_table(sizes(files), TABLE_WIDTH))
    with sync_playwright() as playwright:
        runs = measure(playwright, files, arguments.repeats, arguments.seconds, arguments.picture)
    print(text_of_table(times(runs), TABLE_WIDTH))
    print(f"Chromium {runs[0]['chromium']}, {runs[0]['engine']}; {environment()['cpu']}")


def measure(
    playwright: Playwright, files: Mapping[str, bytes], repeats: int, seconds: float, picture: Path | None = None
) -> list[dict[str, Any]]:
    """Serve a page, open it several times, and return the times of each run, see `time_page`.

    Args:
        playwright: Driver of the browser.
        files: Content of the page by path.
        repeats: Number of times that the page is opened.
        seconds: Length of the last run with the camera.
        picture: Picture of the page to write at the end; None: none.
    """
    executable = find_chromium()
    if executable is None:
        raise SystemExit("error: needs Chromium or Chrome; on Debian or Ubuntu: apt-get install chromium")
    server = SiteServer(files)
    url = server.open()
    try:
        with tempfile.TemporaryDirectory() as folder:
            camera = write_y4m(Path(folder) / "astronaut.y4m", [camera_frame()], RATE)
            with running_browser(playwright, executable, camera_arguments(camera)) as browser:
                runs = [time_page(browser, url) for _ in range(repeats - 1)]
                return [*runs, time_page(browser, url, seconds, picture)]
    finally:
        server.close()


def camera_frame() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a frame with one person."""
    picture = Image.fromarray(skimage.data.astronaut()).crop((0, 0, 512, 384))
    return np.asarray(picture.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))


def sizes(files: Mapping[str, bytes]) -> Table:
    """Return the size of each part as it is, and as servers with gzip send it."""
    groups: dict[str, list[bytes]] = {part: [] for part in PARTS}
    for name, data in files.items():
        groups[next(part for part, start in PARTS.items() if name.startswith(start))].append(data)
    groups["all"] = list(files.values())
    rows = []
    for part, contents in groups.items():
        packed = sum(len(gzip.compress(data, 6)) for data in contents)
        rows.append((part, len(contents), f"{sum(map(len, contents)) / 1e6:.2f}", f"{packed / 1e6:.2f}"))
    return Table("Size of the page", ("part", "files", "MB", "MB gzipped"), tuple(rows))


def time_page(browser: Browser, url: str, seconds: float = 0, picture: Path | None = None) -> dict[str, Any]:
    """Open the page with an empty cache, start the camera, and return its times in milliseconds.

    Args:
        browser: Running browser.
        url: Address of the page.
        seconds: Time with the camera after the first result, in which the figures of frames are read; 0 by default.
        picture: Picture of the page to write; None: none.
    """
    with browser.new_context(viewport=VIEWPORT, permissions=["camera"]) as context:
        page = context.new_page()
        page.add_init_script(MOMENTS)
        page.goto(url)
        wait(page, "ready")
        page.click("#start")
        wait(page, "person")
        samples = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.3)  # the page shows another frame's figures every 0.25 s
            samples.append(
                [float(page.inner_text(name).removesuffix(" ms")) for name in ("#work", "#latency", "#rate")]
            )
        if picture is not None:
            page.screenshot(path=picture, type="jpeg", quality=82, full_page=True)
        moments = page.evaluate("window.moments")
        return {
            "ready": moments["ready"],
            "first": moments["person"] - moments["asking"],
            "samples": samples,
            "engine": page.inner_text("#engine"),
            "chromium": browser.version,
        }


def wait(page: Page, moment: str) -> None:
    """Wait for a state, or for a person."""
    end = time.monotonic() + 60
    while not page.evaluate(f"window.moments.{moment} ?? null"):
        if time.monotonic() > end:
            raise SystemExit(f"error: the page has no {moment!r} after 60 s: {page.inner_text('body')}")
        time.sleep(0.02)


def times(runs: Sequence[dict[str, Any]]) -> Table:
    """Return median and range of the times."""
    work, latency, rate = zip(*runs[-1]["samples"], strict=True)
    values = {
        "ready, ms": [run["ready"] for run in runs],
        "first result, ms": [run["first"] for run in runs],
        "work of a frame, ms": work,
        "latency of a frame, ms": latency,
        "results per second": rate,
    }
    rows = [
        (name, len(numbers), *(f"{value:.1f}" for value in (statistics.median(numbers), min(numbers), max(numbers))))
        for name, numbers in values.items()
    ]
    return Table("Times of the page", ("time", "count", "median", "least", "most"), tuple(rows))


if __name__ == "__main__":
    main()
