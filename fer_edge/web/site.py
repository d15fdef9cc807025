"""Files of the static page: the page itself, scripts, WebAssembly, networks and a bundle, with their hashes."""

from __future__ import annotations

import json
import os
from importlib import resources
from pathlib import Path

import fer_edge
from fer_edge._archive import MODEL
from fer_edge._files import sha256
from fer_edge.bundle import Bundle
from fer_edge.errors import BundleDamagedError, BundleError, ConfigError
from fer_edge.shipped import face_network, path_or_shipped, shipped_file, shipped_names

INDEX, DESCRIPTION, LICENCES = "index.html", "site.json", "licences.txt"
BUNDLE = "models/model.fer"
NETWORKS = {"detector": "detector", "mesh": "landmarks"}  # name of the shipped network by its role
# Files of the page of `fer-edge live` that this page has too.
SHARED = ("colours.js", "live.css", "overlay.js", "people.js", "timeline.js")
RUNTIME = "onnxruntime-web"
LOADER, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"


def make_site(bundle: str | os.PathLike[str] = "edge") -> dict[str, bytes]:
    """Return the files of a page by their path inside of it.

    Args:
        bundle: Path of a bundle, or "edge", the shipped one, by default.

    Raises:
        BundleError: Bundle that cannot be read, or without the graph that the browser runs.
        ConfigError: Installation without face networks or onnxruntime-web.
    """
    path = path_or_shipped("bundle", bundle)
    files = {**_page_files(), **_runtime_files(), BUNDLE: _read_bundle(path)}
    files |= {f"models/{name}.onnx": face_network(name) for name in NETWORKS.values()}
    files[DESCRIPTION] = _describe(files)
    return files


def _read_bundle(path: Path) -> bytes:
    """Return the content of a bundle, after its check.

    Raises:
        BundleError: Bundle that cannot be read, or without the graph.
    """
    bundle = Bundle.open(path)
    if MODEL not in bundle.manifest.files:
        raise BundleError(f"{path} has no {MODEL}, which the browser runs; build the bundle again")
    return path.read_bytes()


def _page_files() -> dict[str, bytes]:
    """Return the page, its scripts, and those of the recognition."""
    package = resources.files("fer_edge")
    files = {f"page/{entry.name}": entry.read_bytes() for entry in package.joinpath("web", "page").iterdir()}
    files |= {f"page/{name}": package.joinpath("live", "page", name).read_bytes() for name in SHARED}
    files |= {
        f"fer-edge/{name}.js": shipped_file("browser script", name).read_bytes()
        for name in shipped_names("browser script")
    }
    return {INDEX: files.pop(f"page/{INDEX}"), **files}


def _runtime_files() -> dict[str, bytes]:
    """Return the files of onnxruntime-web, and the licences of everything.

    Raises:
        ConfigError: Installation from a clone without them.
    """
    folder = resources.files("fer_edge").joinpath("web", RUNTIME)
    if not folder.joinpath(WASM).is_file():
        raise ConfigError(
            f"{RUNTIME} is not installed; in the clone of fer-edge run: python scripts/fetch_onnxruntime_web.py"
        )
    files = {f"{RUNTIME}/{name}": folder.joinpath(name).read_bytes() for name in (LOADER, WASM, "package.json")}
    licences = {
        "fer-edge": shipped_file("licence", "LICENSE").read_bytes(),
        "onnxruntime-web (folder onnxruntime-web)": folder.joinpath("LICENSE").read_bytes(),
        "Face networks of MediaPipe (models/detector.onnx, models/landmarks.onnx)": resources.files("fer_edge")
        .joinpath("weights", "faces", "LICENSE")
        .read_bytes(),
    }
    files[LICENCES] = b"\n\n".join(b"%s\n\n%s" % (name.encode(), text) for name, text in licences.items())
    return files


def _describe(files: dict[str, bytes]) -> bytes:
    """Return `site.json`: size and hash of each file, and the files that the page loads by their role."""
    runtime = json.loads(files[f"{RUNTIME}/package.json"])
    description = {
        "fer_edge": fer_edge.__version__,
        "runtime": f"{runtime['name']} {runtime['version']}",
        "load": {
            "bundle": BUNDLE,
            "runtime": f"{RUNTIME}/{WASM}",
            **{role: f"models/{name}.onnx" for role, name in NETWORKS.items()},
        },
        "files": {name: {"sha256": sha256(data), "size": len(data)} for name, data in sorted(files.items())},
    }
    return json.dumps(description, indent=1).encode()
