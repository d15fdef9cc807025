"""The device interface on the real PyCUDA and cuda-python, which load a fake driver library."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


@pytest.fixture(scope="module")
def driver_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a libcuda.so.1 that has every function PyCUDA links to; unused ones return an error."""
    missing = [name for name in ("pycuda", "cuda") if find_spec(name) is None]
    missing += [tool for tool in ("gcc", "nm") if shutil.which(tool) is None]
    if missing or sys.platform != "linux":
        pytest.skip(
            f"needs Linux with gcc, PyCUDA and cuda-python; missing: {', '.join(missing) or 'Linux'}; run: "
            "scripts/test-pycuda"
        )
    folder = tmp_path_factory.mktemp("driver")
    spec = find_spec("pycuda")
    assert spec is not None and spec.origin is not None
    (bindings,) = Path(spec.origin).parent.glob("_driver*.so")
    listing = subprocess.run(["nm", "-D", "--undefined-only", bindings], capture_output=True, text=True, check=True)
    functions = sorted(set(re.findall(r" U (cu\w+)", listing.stdout)))
    source = (HERE / "fake_driver.c").read_text()
    unsupported = "".join(f"int {name}(void) {{ return 801; }}\n" for name in functions if f" {name}(" not in source)
    (folder / "cuda.c").write_text(source + unsupported)
    compile = ["gcc", "-shared", "-fPIC", "-O1", "-Wl,-soname,libcuda.so.1", "-o", str(folder / "libcuda.so.1")]
    subprocess.run([*compile, str(folder / "cuda.c"), "-ldl", "-lpthread"], check=True)
    return folder


def run(scenario: str, driver_folder: Path, **environment: str) -> None:
    paths = {"LD_LIBRARY_PATH": driver_folder, "PYTHONPATH": ROOT}
    settings = {
        **os.environ,
        "LD_PRELOAD": str(driver_folder / "libcuda.so.1"),
        **{name: f"{path}{os.pathsep}{os.environ.get(name, '')}" for name, path in paths.items()},
        **environment,
    }
    command = [sys.executable, "-W", "error", str(HERE / "fake_driver_scenarios.py"), scenario]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=settings, timeout=120)
    assert result.returncode == 0 and not result.stderr, result.stderr


SCENARIOS = [
    "outputs_match_onnx_runtime",
    "frames_in_gpu_memory",
    "failing_calls",
    "failing_calls_while_closing",
    "failing_capture",
    "threads",
    "input_buffer_outlives_runner",
    "open_runner_at_exit",
]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario_on_real_bindings(scenario: str, driver_folder: Path) -> None:
    run(scenario, driver_folder)


def test_integrated_gpu_copies_nothing(driver_folder: Path) -> None:
    run("outputs_match_onnx_runtime", driver_folder, FAKE_GPU_INTEGRATED="1")
