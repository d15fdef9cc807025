"""Type stubs of the bindings: they match the bindings, and reject calls that a version lacks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
STUBS = {name: ROOT / "stubs" / f"tensorrt-{name}" for name in ("10", "11", "rtx")}
HEAD = """
from tensorrt_types import Bindings, IBuilderConfig, ICudaEngine, ILayer

def call(trt: Bindings, config: IBuilderConfig, engine: ICudaEngine, layer: ILayer) -> None:
"""
CALLS = {  # versions that reject a call
    "config.set_flag(trt.BuilderFlag.TF32)": set(),
    "config.set_flag(trt.MemoryPoolType.WORKSPACE)": {"10", "11", "rtx"},
    "print(trt.CudaGraphStrategy.DISABLED)": {"10", "11"},
    "print(engine.create_runtime_config())": {"10"},
    "print(engine.device_memory_size_v2)": set(),
    "print(layer.precision)": {"11", "rtx"},
    "config.num_compute_capabilities = 1": {"10", "11"},
    "config.builder_optimization_level = 'five'": {"10", "11", "rtx"},
}


@pytest.mark.parametrize("version", STUBS)
def test_calls_that_a_version_lacks_are_rejected(version: str, tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(HEAD + "".join(f"    {call}\n" for call in CALLS))
    # A process of its own: mypy keeps 80 MB per run in memory.
    command = [sys.executable, "-m", "mypy", f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={tmp_path}"]
    environment = {**os.environ, "MYPYPATH": str(STUBS[version])}
    result = subprocess.run([*command, str(file)], capture_output=True, text=True, env=environment, check=False)
    lines = file.read_text().splitlines()
    rejected = {lines[int(number) - 1].strip() for number in re.findall(r"module\.py:(\d+): error:", result.stdout)}
    assert rejected == {call for call, versions in CALLS.items() if version in versions}, result.stdout


def test_stub_matches_installed_bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    stub = (STUBS["rtx"] / "tensorrt_types.pyi").read_text()
    if rtx.__version__ not in stub.splitlines()[0]:
        pytest.skip(f"the stub is for another version than the installed {rtx.__version__}; see scripts/make_stubs")
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from stubs_from_bindings import stub_from_bindings

    assert stub_from_bindings("tensorrt_rtx_bindings.tensorrt_rtx") == stub
    sys.modules.pop("stubs_from_bindings")
