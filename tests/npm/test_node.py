"""Tests of the npm package in Node.js, and the package as npm packs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.npm.conftest import WEB

ROOT = WEB.parent


def run_tests(node: str, files: list[str], vectors: Path) -> None:
    """Run test files of the package; none of their tests may be skipped."""
    environment = os.environ | {"FER_EDGE_VECTORS": str(vectors)}
    command = [
        node,
        "--test",
        "--test-reporter=spec",
        "--test-concurrency=1",
        *(f"test/{name}.test.js" for name in files),
    ]
    result = subprocess.run(command, cwd=WEB, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"skipped 0$", result.stdout, re.MULTILINE), result.stdout


def test_arithmetic_equals_that_of_python(node: str, arithmetic: Path) -> None:
    run_tests(node, ["arithmetic", "crop"], arithmetic)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("file", ["bundle", "recognizer", "detector", "tracker"])
def test_package_equals_python(node: str, vectors: Path, file: str) -> None:
    run_tests(node, [file], vectors)


def test_hashes_of_the_face_networks_are_those_of_the_converted_files() -> None:
    text = (WEB / "src" / "detector.js").read_text()
    hashes = dict(re.findall(r'(detector|mesh): "([0-9a-f]{64})"', text))
    sources = (ROOT / "scripts" / "fetch_faces.py").read_text()
    results = re.findall(r'result="([0-9a-f]{64})"', sources)
    assert list(hashes.values()) == results and list(hashes) == ["detector", "mesh"]


def test_version_is_that_of_the_python_package() -> None:
    package = json.loads((WEB / "package.json").read_text())
    (version,) = re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert package["version"] == version
    assert json.loads((WEB / "package-lock.json").read_text())["version"] == version


def test_lock_file_names_no_host() -> None:
    assert "http" not in re.sub(r'"funding": \{[^}]*\}', "", (WEB / "package-lock.json").read_text())


CONSUMER = """
import * as ort from "onnxruntime-web";
import { ExpressionTracker, openBundle, type Person } from "fer-edge";

const weights = (name: string) => readFileSync(new URL(`node_modules/fer-edge/weights/${name}`, import.meta.url));
import { readFileSync } from "node:fs";

const bundle = await openBundle(weights("edge.fer"));
const networks = { detector: weights("detector.onnx"), mesh: weights("landmarks.onnx") };
const tracker: ExpressionTracker = await ExpressionTracker.open({ bundle, ort, ...networks });
const image = { data: new Uint8ClampedArray(4 * 64 * 48), width: 64, height: 48 };
const people: Person[] = await tracker.update(image, 0.5);
const labels: readonly string[] = tracker.labels;
console.log(people.length, labels.join());
await tracker.close();
"""


README_VARIABLES = """
declare const video: HTMLVideoElement;
declare const image: ImageData;
"""


def compile_typescript(folder: Path, *arguments: str) -> None:
    """Compile a file to JavaScript; none of its types may be wrong."""
    compiler = str(WEB / "node_modules" / ".bin" / "tsc")
    command = [compiler, "--module", "nodenext", "--target", "es2022", *arguments]
    compiled = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert compiled.returncode == 0, compiled.stdout


@pytest.mark.slow
def test_packed_package_works_and_has_types(node: str, tmp_path: Path) -> None:
    """Pack the package, lay it into another project, and compile TypeScript and the examples of the README there."""
    npm = str(Path(node).with_name("npm"))
    subprocess.run([npm, "pack", "--pack-destination", tmp_path], cwd=WEB, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tgz")
    with tarfile.open(archive) as members:
        names = {name.removeprefix("package/") for name in members.getnames()}
        members.extractall(tmp_path, filter="data")
    assert {"src/index.js", "types/index.d.ts", "weights/edge.fer", "weights/LICENSE", "README.md", "LICENSE"} <= names
    assert not any(name.startswith(("test", "bench", "node_modules", "scripts")) for name in names)
    modules = tmp_path / "node_modules"
    modules.mkdir()
    (tmp_path / "package").rename(modules / "fer-edge")
    for name in ("onnxruntime-web", "onnxruntime-common", "@types"):
        (modules / name).symlink_to(WEB / "node_modules" / name)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "main.ts").write_text(CONSUMER)
    blocks = re.findall(r"```js\n(.+?)```", (WEB / "README.md").read_text(), re.DOTALL)
    (tmp_path / "readme.ts").write_text("".join([README_VARIABLES, *blocks]))
    compile_typescript(tmp_path, "main.ts", "--strict")
    compile_typescript(tmp_path, "readme.ts")
    result = subprocess.run([node, "main.js"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.stdout.startswith("0 neutral,happiness,"), result.stderr
