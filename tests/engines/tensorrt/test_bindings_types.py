"""Type stubs of the bindings: they match the bindings, and reject calls that a version lacks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from mypy import api as mypy

ROOT = Path(__file__).parents[3]
STUBS = {name: ROOT / "stubs" / f"tensorrt-{name}" for name in ("10", "11", "rtx")}
MODULE = """
from tensorrt_types import Bindings, IBuilderConfig, ICudaEngine, ILayer

def call(trt: Bindings, config: IBuilderConfig, engine: ICudaEngine, layer: ILayer) -> None:
    {line}
"""


def check(line: str, version: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return mypy's output for a line, checked against the bindings of one version."""
    file = folder / "module.py"
    file.write_text(MODULE.format(line=line))
    monkeypatch.setenv("MYPYPATH", str(STUBS[version]))
    return mypy.run([f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={folder / version}", str(file)])[0]


@pytest.mark.parametrize(
    ("line", "invalid", "valid"),
    [
        ("config.set_flag(trt.BuilderFlag.FP16)", ["11", "rtx"], ["10"]),
        ("print(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)", ["11", "rtx"], ["10"]),
        ("print(engine.device_memory_size)", ["11", "rtx"], ["10"]),
        ("print(engine.device_memory_size_v2)", [], ["10", "11", "rtx"]),
        ("print(layer.precision)", ["11", "rtx"], ["10"]),
        ("config.num_compute_capabilities = 1", ["10", "11"], ["rtx"]),
        ("config.builder_optimization_level = 'five'", ["10", "11", "rtx"], []),
    ],
)
def test_calls_that_a_version_lacks_are_rejected(
    line: str, invalid: list[str], valid: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in invalid:
        assert "module.py:5: error:" in check(line, version, tmp_path, monkeypatch), version
    for version in valid:
        assert "Success" in check(line, version, tmp_path, monkeypatch), version


def test_stub_matches_installed_bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    stub = (STUBS["rtx"] / "tensorrt_types.pyi").read_text()
    if rtx.__version__ not in stub.splitlines()[0]:
        pytest.skip(f"the stub is for another version than the installed {rtx.__version__}; see scripts/make_stubs")
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from stubs_from_bindings import stub_from_bindings

    assert stub_from_bindings("tensorrt_rtx_bindings.tensorrt_rtx") == stub
    sys.modules.pop("stubs_from_bindings")
