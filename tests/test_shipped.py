"""Shipped files by name in a clone, a wheel and a zip archive, and the hooks for PyInstaller."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import pkgutil
import runpy
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest

import fer_edge
from fer_edge._files import sha256
from fer_edge.bundle import Bundle
from fer_edge.cli.main import COMMANDS, module_name
from fer_edge.engines.registry import ENGINE_MODULES
from fer_edge.errors import ConfigError
from fer_edge.shipped import path_or_shipped, shipped_bundle, shipped_file, shipped_names

ROOT = Path(__file__).parents[1]
PACKAGE = Path(fer_edge.__file__).parent
HOOKS = PACKAGE / "_pyinstaller"


def test_names_of_shipped_files() -> None:
    assert shipped_names("checkpoint") == shipped_names("ranges") == ["edge", "edge-tiny"]
    assert shipped_names("bundle") == ["edge", "edge-int8", "edge-tiny", "edge-tiny-int8"]
    assert shipped_names("calibration set") == ["ferplus-512"]
    assert shipped_names("mapping") == ["vmc-vrm0", "vmc-vrm1", "vrchat"]
    assert shipped_names("recipe") == sorted(path.stem for path in (ROOT / "export").glob("*.toml"))
    Bundle.open(shipped_bundle())
    assert json.loads(shipped_file("ranges", "edge").read_text())["method"] == "moving-average"
    assert len(json.loads(shipped_file("calibration set", "ferplus-512").read_text())["images"]) == 512


def test_local_file_has_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert path_or_shipped("checkpoint", "edge").is_absolute()
    (tmp_path / "edge").mkdir()
    assert path_or_shipped("checkpoint", "edge").name == "edge.safetensors"  # the folder of this name is ignored
    (tmp_path / "edge").rmdir()
    (tmp_path / "edge").write_bytes(b"")
    assert path_or_shipped("checkpoint", "edge") == Path("edge")


def test_paths_are_returned_unchanged() -> None:
    for path in ("none.toml", "folder/edge", "/edge", "../rtx-fp16"):
        assert path_or_shipped("recipe", path) == Path(path)
    with pytest.raises(ConfigError, match=r"no recipe at rtx-fp61; .*; did you mean rtx-fp16\?"):
        path_or_shipped("recipe", "rtx-fp61")
    with pytest.raises(
        ConfigError, match="no shipped ranges 'egde'; expected one of: edge, edge-tiny; did you mean edge"
    ):
        shipped_file("ranges", "egde")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip('needs hatchling, which is in the extra "dev"')
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    return next(folder.glob("*.whl"))


def test_wheel_contains_every_shipped_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
        entries = archive.read(next(name for name in names if name.endswith("/entry_points.txt"))).decode()
    assert {f"fer_edge/build_recipes/{name}.toml" for name in shipped_names("recipe")} <= names
    assert {
        "fer_edge/ranges/edge.json",
        "fer_edge/ranges/edge-tiny.json",
        "fer_edge/calibration_sets/ferplus-512.json",
    } <= names
    assert {f"fer_edge/weights/{name}" for name in ("edge.fer", "edge-int8.fer", "edge.safetensors")} <= names
    assert {f"fer_edge/weights/edge-tiny{suffix}" for suffix in (".fer", "-int8.fer", ".safetensors")} <= names
    assert {f"fer_edge/weights/faces/{name}" for name in ("detector.onnx", "landmarks.onnx", "LICENSE")} <= names
    assert {"fer_edge/web/page/index.html", "fer_edge/web/scripts/index.js", "fer_edge/licences/LICENSE"} <= names
    assert "fer_edge/_pyinstaller/hook-fer_edge.py" in names
    assert "Project-URL: " in metadata
    assert "fer_edge.cli.entry:main" in entries and "fer_edge._pyinstaller:hook_folders" in entries


def test_sbom_of_the_wheel_lists_its_binary_files(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        document = json.loads(
            archive.read(next(name for name in names if name.endswith(".dist-info/sboms/fer-edge.cdx.json")))
        )
        top = document["components"]
        parts = [
            part for component in top for part in (component, *component.get("components", ())) if "evidence" in part
        ]
        digests = {part["evidence"]["occurrences"][0]["location"]: part["hashes"][0]["content"] for part in parts}
        assert {path: sha256(archive.read(path)) for path in digests} == digests
    binary = {name for name in names if name.endswith((".onnx", ".wasm", ".mjs", ".fer", ".safetensors"))}
    assert binary <= digests.keys()


def test_installed_wheel_finds_its_files(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import fer_edge, sys\nfrom fer_edge.export.recipe import read_recipe\n"
        "from fer_edge.shipped import shipped_file\n"
        "assert fer_edge.__file__.startswith(sys.argv[1]), fer_edge.__file__\n"
        "recipe = read_recipe(shipped_file('recipe', 'rtx-int8'))\n"
        "print(recipe['checkpoint'].is_file(), recipe['ranges'].is_file(), recipe['ranges'])"
    )
    site = tmp_path / "site"
    printed = subprocess.run(
        [sys.executable, "-c", code, str(site)], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert printed == f"True True {site / 'fer_edge' / 'ranges' / 'edge.json'}\n"


def test_package_in_a_zip_archive_opens_its_bundle(wheel: Path, tmp_path: Path) -> None:
    code = (
        "import fer_edge, numpy as np\n"
        "assert '.whl' in fer_edge.__file__\n"
        "with fer_edge.Recognizer.open() as recognizer:\n"
        "    frame = np.random.default_rng(0).integers(0, 256, (99, 99, 3), dtype=np.uint8)\n"
        "    print(len(recognizer.recognize(frame).scores))"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(wheel)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (0, "8\n"), result.stderr


def collect_submodules(package: str) -> list[str]:
    folder = PACKAGE.joinpath(*package.split(".")[1:])
    return [module.name for module in pkgutil.iter_modules([str(folder)], f"{package}.")]


def run_hook(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Run a hook as PyInstaller does, with doubles of its helper functions."""
    helpers = types.ModuleType("PyInstaller.utils.hooks")
    helpers.collect_data_files = lambda package, includes: [(package, pattern) for pattern in includes]  # type: ignore[attr-defined]
    helpers.collect_dynamic_libs = lambda package, search_patterns: [(package, search_patterns)]  # type: ignore[attr-defined]
    helpers.collect_submodules = collect_submodules  # type: ignore[attr-defined]
    for module in ("PyInstaller", "PyInstaller.utils"):
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    monkeypatch.setitem(sys.modules, "PyInstaller.utils.hooks", helpers)
    return runpy.run_path(str(HOOKS / name))


def test_frozen_app_gets_engines_and_data(monkeypatch: pytest.MonkeyPatch) -> None:
    from fer_edge._pyinstaller import hook_folders

    assert hook_folders() == [str(HOOKS)]
    hook = run_hook("hook-fer_edge.py", monkeypatch)
    assert set(ENGINE_MODULES.values()) <= set(hook["hiddenimports"])  # type: ignore[call-overload]
    patterns = [pattern for _, pattern in hook["datas"]]  # type: ignore[attr-defined]
    for folder, name in (("weights", "edge.fer"), ("presets", "edge.toml"), ("recipes", "edge-ferplus.toml")):
        assert (PACKAGE / folder / name).is_file()
        assert any((PACKAGE / folder / name).match(pattern) for pattern in patterns)
    assert "openvino" in hook["hiddenimports"]  # type: ignore[operator]
    assert "openvino" in [package for package, _ in hook["binaries"]]  # type: ignore[attr-defined]
    for name in hook["hiddenimports"]:  # type: ignore[attr-defined]
        # cryptography replaces a module by an object without a spec when it is imported.
        assert name in sys.modules or importlib.util.find_spec(name) is not None


def test_frozen_app_gets_every_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = run_hook("hook-fer_edge.data.layouts.py", monkeypatch)["hiddenimports"]
    files = {path.stem for path in (PACKAGE / "data" / "layouts").glob("[a-z]*.py")}
    assert {f"fer_edge.data.layouts.{name}" for name in files} == set(hidden)  # type: ignore[call-overload]


def test_frozen_command_gets_its_subcommands(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = run_hook("hook-fer_edge.cli.main.py", monkeypatch)["hiddenimports"]
    assert {module_name(command) for command in COMMANDS} <= set(hidden)  # type: ignore[call-overload]
    assert all(importlib.util.find_spec(name) for name in hidden)  # type: ignore[attr-defined]


def test_spawned_process_opens_its_own_recognizer(tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text(
        "import multiprocessing, sys\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "import numpy as np\nfrom fer_edge import Recognizer\n\n"
        "def work(seed):\n"
        "    frame = np.random.default_rng(seed).integers(0, 256, (99, 99, 3), dtype=np.uint8)\n"
        "    with Recognizer.open(threads=1) as recognizer:\n"
        "        return len(recognizer.recognize(frame).scores)\n\n"
        "if __name__ == '__main__':\n"
        "    with Recognizer.open(threads=1):\n"
        "        with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:\n"
        "            print(list(pool.map(work, range(2))))\n"
    )
    result = subprocess.run([sys.executable, "-W", "error", str(script)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "[8, 8]\n", "")
