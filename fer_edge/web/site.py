"""Files of the static page: the page itself, scripts, WebAssembly, networks and a bundle, with their hashes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib import resources

import fer_edge
from fer_edge._files import sha256
from fer_edge.bundle import Bundle
from fer_edge.errors import ConfigError
from fer_edge.shipped import face_network, path_or_shipped, shipped_file, shipped_names

INDEX, DESCRIPTION, LICENCES = "index.html", "site.json", "licences.txt"
BUNDLE = "models/model.fer"
DETECTOR, MESH = "models/detector.onnx", "models/landmarks.onnx"
# Files of the page of `fer-edge live` that this page has too.
SHARED = ("colours.js", "live.css", "overlay.js", "people.js", "timeline.js")
RUNTIME = "onnxruntime-web"
WASM = f"{RUNTIME}/ort-wasm-simd-threaded.wasm"
LOADER = f"{RUNTIME}/ort.wasm.bundle.min.mjs"


def make_site(bundle: str | os.PathLike[str] = "edge") -> dict[str, bytes]:
    """Return the files of a page by their path inside of it.

    Args:
        bundle: Path of a bundle, or "edge", the shipped one, by default.

    Raises:
        BundleError: Bundle that cannot be read.
        ConfigError: Installation without face networks or onnxruntime-web.
    """
    files = _page_files()
    runtime = _runtime_files()
    version = json.loads(runtime.pop(f"{RUNTIME}/package.json"))["version"]
    files |= runtime
    files |= {DETECTOR: face_network("detector"), MESH: face_network("landmarks")}
    files |= {BUNDLE: Bundle.open(path_or_shipped("bundle", bundle)).path.read_bytes(), LICENCES: _licences()}
    files[DESCRIPTION] = _describe(files, f"{RUNTIME} {version}")
    return files


def _page_files() -> dict[str, bytes]:
    """Return the page, its scripts, and those of the recognition."""
    package = resources.files("fer_edge")
    files = {f"page/{entry.name}": entry.read_bytes() for entry in package.joinpath("web", "page").iterdir()}
    files |= {f"page/{name}": package.joinpath("live", "page", name).read_bytes() for name in SHARED}
    scripts = shipped_names("browser script")
    files |= {f"fer-edge/{name}.js": shipped_file("browser script", name).read_bytes() for name in scripts}
    return {INDEX: files.pop(f"page/{INDEX}"), **files}


def _runtime_files() -> dict[str, bytes]:
    """Return the files of onnxruntime-web.

    Raises:
        ConfigError: Installation without them.
    """
    folder = resources.files("fer_edge").joinpath("web", RUNTIME)
    if not folder.is_dir():
        raise ConfigError(
            f"{RUNTIME} is not installed; in the clone of fer-edge run: python scripts/fetch_onnxruntime_web.py"
        )
    files = {f"{RUNTIME}/{entry.name}": entry.read_bytes() for entry in folder.iterdir()}
    # Many web servers do not send .mjs as a script.
    return {(name.replace(".mjs", ".js") if name == LOADER else name): data for name, data in files.items()}


def _licences() -> bytes:
    """Return the licences of all parts as one text."""
    package = resources.files("fer_edge")
    texts = {
        "fer-edge": shipped_file("licence", "LICENSE").read_bytes(),
        f"{RUNTIME}, in the folder {RUNTIME}": package.joinpath("web", "LICENSE-onnxruntime-web").read_bytes(),
        f"MediaPipe's face networks, {DETECTOR} and {MESH}": package.joinpath(
            "weights", "faces", "LICENSE"
        ).read_bytes(),
    }
    return b"\n\n".join(title.encode() + b"\n\n" + text.strip() for title, text in texts.items()) + b"\n"


def _describe(files: Mapping[str, bytes], runtime: str) -> bytes:
    """Return `site.json`: size and hash of each file, and the files that the page loads by their role."""
    description = {
        "fer_edge": fer_edge.__version__,
        "runtime": runtime,
        "load": {"bundle": BUNDLE, "detector": DETECTOR, "mesh": MESH, "runtime": WASM},
        "files": {name: {"sha256": sha256(data), "size": len(data)} for name, data in sorted(files.items())},
    }
    return json.dumps(description, indent=1).encode()
