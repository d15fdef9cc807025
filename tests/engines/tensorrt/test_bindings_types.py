"""The stubs are the bindings', and a call that one version lacks does not pass its type check."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from mypy import api as mypy

ROOT = Path(__file__).parents[3]
STUBS = {name: ROOT / "stubs" / f"tensorrt-{name}" for name in ("10", "11", "rtx")}
PLANTED = """
from tensorrt_types import Bindings, IBuilderConfig, ICudaEngine, ILayer

def plant(trt: Bindings, config: IBuilderConfig, engine: ICudaEngine, layer: ILayer) -> None:
    {line}
"""


def check(line: str, version: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What mypy says of a line, checked against one version's bindings."""
    file = folder / "planted.py"
    file.write_text(PLANTED.format(line=line))
    monkeypatch.setenv("MYPYPATH", str(STUBS[version]))
    return mypy.run([f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={folder / version}", str(file)])[0]


@pytest.mark.parametrize(
    ("line", "lacking", "having"),
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
def test_what_a_version_lacks_is_found(
    line: str, lacking: list[str], having: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in lacking:
        assert "planted.py:5: error:" in check(line, version, tmp_path, monkeypatch), version
    for version in having:
        assert "Success" in check(line, version, tmp_path, monkeypatch), version


def test_the_stub_is_what_the_installed_bindings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    stub = (STUBS["rtx"] / "tensorrt_types.pyi").read_text()
    if rtx.__version__ not in stub.splitlines()[0]:
        pytest.skip(f"the stub is of another version than the installed {rtx.__version__}; see scripts/make_stubs")
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from stubs_from_bindings import stub_from_bindings

    assert stub_from_bindings("tensorrt_rtx_bindings.tensorrt_rtx") == stub
    sys.modules.pop("stubs_from_bindings")
