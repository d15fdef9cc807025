"""The device seam on the real PyCUDA and cuda-python, which load a stand-in for the driver's library."""

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
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a libcuda.so.1 that has every function PyCUDA links to; the ones we do not use refuse."""
    missing = [name for name in ("pycuda", "cuda") if find_spec(name) is None]
    missing += [tool for tool in ("gcc", "nm") if shutil.which(tool) is None]
    if missing or sys.platform != "linux":
        pytest.skip(
            f"needs Linux with gcc, PyCUDA and cuda-python; missing: {', '.join(missing) or 'Linux'}; run: "
            "scripts/test-pycuda"
        )
    folder = tmp_path_factory.mktemp("stand-in")
    spec = find_spec("pycuda")
    assert spec is not None and spec.origin is not None
    (bindings,) = Path(spec.origin).parent.glob("_driver*.so")
    listed = subprocess.run(["nm", "-D", "--undefined-only", bindings], capture_output=True, text=True, check=True)
    wanted = set(re.findall(r" U (cu\w+)", listed.stdout))
    source = (HERE / "stand_in_cuda.c").read_text()
    refusals = "".join(f"int {name}(void) {{ return 801; }}\n" for name in sorted(wanted) if f" {name}(" not in source)
    (folder / "cuda.c").write_text(source + refusals)
    compile = ["gcc", "-shared", "-fPIC", "-O1", "-Wl,-soname,libcuda.so.1", "-o", str(folder / "libcuda.so.1")]
    subprocess.run([*compile, str(folder / "cuda.c"), "-ldl", "-lpthread"], check=True)
    return folder


def run(scenario: str, stand_in: Path, **environment: str) -> None:
    paths = {"LD_LIBRARY_PATH": stand_in, "PYTHONPATH": ROOT}
    settings = {
        **os.environ,
        "LD_PRELOAD": str(stand_in / "libcuda.so.1"),
        **{name: f"{ours}{os.pathsep}{os.environ.get(name, '')}" for name, ours in paths.items()},
        **environment,
    }
    command = [sys.executable, "-W", "error", str(HERE / "on_stand_in.py"), scenario]
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=settings, timeout=120)
    assert found.returncode == 0 and not found.stderr, found.stderr


SCENARIOS = [
    "values",
    "frames_on_the_gpu",
    "faults",
    "faults_while_closing",
    "a_capture_that_fails",
    "threads",
    "a_held_buffer",
    "forgotten_at_the_end",
]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_on_the_real_bindings(scenario: str, stand_in: Path) -> None:
    run(scenario, stand_in)


def test_an_integrated_gpu_copies_nothing(stand_in: Path) -> None:
    run("values", stand_in, STAND_IN_INTEGRATED="1")
