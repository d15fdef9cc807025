"""Times of the npm package in Node.js and in headless Chromium, on one thread of WebAssembly.

    PYTHONPATH=. .venv/bin/python benchmarks/npm_package.py [--repeats 300]

`scripts/test-web` installs what it needs. The frame of 640 x 480 pixels shows one face. Times are medians in
milliseconds; "CPU" is the mean time of the processor, with that of the compiler and garbage collector in other threads.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import skimage.data
from PIL import Image
from playwright.sync_api import sync_playwright

from fer_edge.environment import environment
from fer_edge.results import WIDTH as WIDTH_OF_TABLES
from fer_edge.results import Table
from fer_edge.tables import text_of_table
from tests.browser import find_chromium, running_browser
from tests.web.host import SUB_PATH, static_host

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT = 640, 480


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=300, help="number of calls")
    arguments = parser.parse_args()
    executable = find_chromium()
    if executable is None or not (ROOT / "web" / "node_modules").is_dir():
        raise SystemExit("error: needs Chromium, Node.js and the packages of web/: run scripts/test-web")
    with tempfile.TemporaryDirectory() as folder:
        frame = Path(folder) / "frame.rgba"
        frame.write_bytes(astronaut().tobytes())
        node = time_in_node(frame, arguments.repeats)
        browser, version = time_in_chromium(executable, frame, arguments.repeats)
    rows = [
        (
            ours["name"],
            *(f"{value:.1f}" for value in (ours["median"], ours["p95"], ours["cpu"], other["median"], other["p95"])),
        )
        for ours, other in zip(node, browser, strict=True)
    ]
    columns = ("call, ms", "Node.js", "p95", "CPU", "Chromium", "p95")
    print(text_of_table(Table("Times of the npm package", columns, tuple(rows)), WIDTH_OF_TABLES))
    print(f"Chromium {version}, Node.js {node_version()}; {environment()['cpu']}")


def astronaut() -> Image.Image:
    """Return a frame with one face."""
    frame = Image.new("RGBA", (WIDTH, HEIGHT), (90, 100, 110, 255))
    frame.paste(Image.fromarray(skimage.data.astronaut()).resize((HEIGHT, HEIGHT)), ((WIDTH - HEIGHT) // 2, 0))
    return frame


def node_version() -> str:
    """Return the version of Node.js."""
    return subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def time_in_node(frame: Path, repeats: int) -> list[dict[str, Any]]:
    """Return the times in Node.js."""
    command = ["node", "bench/node.mjs", str(frame), str(WIDTH), str(HEIGHT), str(repeats)]
    result = subprocess.run(command, cwd=ROOT / "web", stdout=subprocess.PIPE, text=True, check=True)
    times: list[dict[str, Any]] = json.loads(result.stdout)
    return times


def time_in_chromium(executable: str, frame: Path, repeats: int) -> tuple[list[dict[str, Any]], str]:
    """Return the times in Chromium, and its version."""
    root = frame.parent / "site"
    site = root / SUB_PATH
    site.mkdir(parents=True)
    for name, target in {
        "src": ROOT / "web" / "src",
        "bench": ROOT / "web" / "bench",
        "ort": ROOT / "web" / "node_modules" / "onnxruntime-web" / "dist",
        "weights": ROOT / "fer_edge" / "weights",
        "frame.rgba": frame,
    }.items():
        (site / name).symlink_to(target)
    with (
        static_host(root) as host,
        sync_playwright() as playwright,
        running_browser(playwright, executable) as browser,
    ):
        page = browser.new_page()
        page.set_default_timeout(600_000)
        page.goto(f"{host.url}bench/page.html")
        page.wait_for_function("window.measure !== undefined")
        call = f"window.measure('ort.wasm.min.mjs', {WIDTH}, {HEIGHT}, {repeats})"
        times: list[dict[str, Any]] = page.evaluate(f"async () => await {call}")
        return times, browser.version


if __name__ == "__main__":
    main()
