"""The npm package in headless Chromium: on WebAssembly, and on WebGPU with a software adapter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import require_chromium, running_browser
from tests.npm.conftest import WEB
from tests.npm.vectors import FACES
from tests.result_document import check_document
from tests.web.host import SUB_PATH, Host, static_host

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Playwright

pytestmark = [pytest.mark.slow, pytest.mark.data]
WASM, WEBGPU = "ort.wasm.min.mjs", "ort.webgpu.min.mjs"  # builds of onnxruntime-web
WEBGPU_FACES = 4  # a face takes seconds on the software adapter
SOFTWARE_GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
SCORE, PIXELS = 1e-5, 0.05  # largest difference of probabilities, and of places


@pytest.fixture(scope="module")
def host(vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Serve the page, the package, onnxruntime-web, the networks and the results of Python."""
    root = tmp_path_factory.mktemp("npm")
    folder = root / SUB_PATH
    folder.mkdir(parents=True)
    here = Path(__file__).parent
    for name, target in {
        "parity.html": here / "parity.html",
        "parity.js": here / "parity.js",
        "src": WEB / "src",
        "ort": WEB / "node_modules" / "onnxruntime-web" / "dist",
        "weights": WEB.parent / "fer_edge" / "weights",
        "vectors": vectors,
    }.items():
        (folder / name).symlink_to(target)
    with static_host(root) as running:
        yield running


@pytest.fixture(scope="module")
def expected(vectors: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((vectors / "vectors.json").read_text())
    return content


def call(browser: Browser, host: Host, function: str) -> Any:
    """Return the result of an asynchronous function of the page."""
    with browser.new_context() as context:
        tab = context.new_page()
        errors: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(f"{host.url}parity.html", wait_until="load")
        tab.wait_for_function("window.fer !== undefined")
        result = evaluate(tab, function)
        assert not errors
    return result


def evaluate(tab: Page, function: str) -> Any:
    tab.set_default_timeout(300_000)
    return tab.evaluate(f"async () => await window.fer.{function}")


def test_expressions_equal_those_of_python(browser: Browser, host: Host, expected: dict[str, Any]) -> None:
    results = call(browser, host, f"recognize('{WASM}', {FACES})")
    assert len(results) == FACES
    for result, row in zip(results, expected["recognition"], strict=False):
        assert result["label"] == row["expression"]["label"]
        assert result["scores"] == pytest.approx(row["expression"]["scores"], abs=SCORE)
        assert result["warning"] == row["expression"]["warning"]


def test_faces_equal_those_of_python(browser: Browser, host: Host, expected: dict[str, Any]) -> None:
    results = call(browser, host, f"detect('{WASM}', 3)")
    for faces, row in zip(results, expected["detection"], strict=False):
        assert len(faces) == len(row["faces"]) == 1
        assert faces[0]["box"] == pytest.approx(row["faces"][0]["box"], abs=PIXELS)
        for point, other in zip(faces[0]["points"], row["faces"][0]["points"], strict=True):
            assert point == pytest.approx(other, abs=PIXELS)


def test_documents_of_a_clip_equal_those_of_python(browser: Browser, host: Host, expected: dict[str, Any]) -> None:
    results = call(browser, host, f"track('{WASM}', 12)")
    assert len(results) == 12
    for document, people in zip(results, expected["tracking"]["runs"][0]["people"], strict=False):
        check_document(document)
        (person,), (other,) = document["people"], people
        assert (person["id"], person["expression"]["label"], person["fresh"]) == (1, "happiness", True)
        assert person["expression"]["scores"] == pytest.approx(other["expression"]["scores"], abs=1e-4)


def test_webgpu_gives_the_expressions_of_python(playwright: Playwright, host: Host, expected: dict[str, Any]) -> None:
    with running_browser(playwright, require_chromium(), SOFTWARE_GPU) as browser:
        results = call(browser, host, f"recognize('{WEBGPU}', {WEBGPU_FACES}, ['webgpu'])")
    assert len(results) == WEBGPU_FACES
    for result, row in zip(results, expected["recognition"], strict=False):
        assert result["label"] == row["expression"]["label"]
        assert result["scores"] == pytest.approx(row["expression"]["scores"], abs=SCORE)


def test_wasm_takes_the_place_of_a_missing_gpu(browser: Browser, host: Host, expected: dict[str, Any]) -> None:
    (result,) = call(browser, host, f"recognize('{WEBGPU}', 1, ['webgpu', 'wasm'])")
    assert result["scores"] == pytest.approx(expected["recognition"][0]["expression"]["scores"], abs=SCORE)
