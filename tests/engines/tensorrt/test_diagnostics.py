"""Diagnostics of typical machines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from fer_edge.engines.tensorrt import diagnostics as diagnostics_module
from fer_edge.engines.tensorrt.diagnostics import Machine, diagnose, l4t_from_release, probe_system, products
from fer_edge.hardware.gpu import Driver, Gpu

RTX_4070 = Gpu("NVIDIA GeForce RTX 4070", "sm89", 12282, integrated=False)
PIP = {
    "tensorrt": "11.4.0.106",
    "tensorrt-cu13": "11.4.0.106",
    "tensorrt-cu13-bindings": "11.4.0.106",
    "tensorrt-cu13-libs": "11.4.0.106",
    "pycuda": "2026.1",
    "cuda-bindings": "13.0.1",
}
DESKTOP = Machine(Driver((13, 0), (RTX_4070,)), packages=PIP, kernel_module=True)
NO_DRIVER = Machine(None, "no NVIDIA driver here (libcuda.so.1 not found)", packages=PIP)
ORIN = Machine(Driver((12, 6), (Gpu("Orin", "sm87", 7620, integrated=True),)), packages={}, l4t=(36, 4))


# CUDA packages of PyTorch for CUDA 12 and 13, and packages with similar names.
OTHERS = {
    "nvidia-cuda-runtime": "13.0.96",
    "nvidia-cuda-runtime-cu12": "12.8.90",
    "tensorrt-llm": "1.0.0",
    "tensorrt-stubs": "10.3.0",
    "tensorrt-stubs-cu11": "8.6.1",
}


def without(*names: str, **versions: str) -> dict[str, str]:
    rest = {name: version for name, version in PIP.items() if name not in names}
    return {**rest, **{name.replace("_", "-"): version for name, version in versions.items()}}


def test_working_desktop_has_no_findings() -> None:
    assert diagnose(DESKTOP) == []


@pytest.mark.parametrize(
    ("machine", "problem", "remedy"),
    [
        (NO_DRIVER, "no NVIDIA driver", "r580 or newer for CUDA 13 packages, r535 for CUDA 12; TensorRT-RTX builds"),
        (replace(NO_DRIVER, container=True), "no NVIDIA driver", "start the container with --gpus all"),
        (replace(NO_DRIVER, wsl=True), "no NVIDIA driver", "install NVIDIA's driver in Windows, and no driver in WSL"),
        (replace(NO_DRIVER, kernel_module=True), "no NVIDIA driver", "its user-space library is missing"),
        (replace(NO_DRIVER, l4t=(36, 4)), "no NVIDIA driver", "sudo apt install nvidia-jetpack"),
        (replace(DESKTOP, driver=Driver((13, 0), ())), "finds no GPU", "nvidia-smi"),
        (replace(DESKTOP, driver=Driver((13, 0), ()), container=True), "finds no GPU", "--gpus all"),
        (replace(DESKTOP, driver=Driver((13, 0), ()), visible_devices=""), "CUDA_VISIBLE_DEVICES is ''", "unset it"),
        (
            replace(DESKTOP, driver=Driver((13, 0), (replace(RTX_4070, name="GTX 1080", target="sm61"),))),
            "GTX 1080 is sm61; TensorRT needs sm75",
            "OpenVINO",
        ),
        (
            replace(DESKTOP, driver=Driver((12, 4), (RTX_4070,)), packages=without("cuda-bindings")),
            "tensorrt is for CUDA 13; the driver runs CUDA up to 12.4",
            "update the driver to r580 or newer, or pip install tensorrt-cu12",
        ),
        (
            replace(DESKTOP, driver=Driver((12, 4), (RTX_4070,)), packages={"cuda-bindings": "13.0.1"}),
            "cuda-python 13.0.1 is newer than the driver's CUDA 12.4",
            "pip install 'cuda-python<13'",
        ),
        (
            replace(DESKTOP, packages=without(tensorrt_cu12="11.4.0.106", tensorrt_cu12_libs="11.4.0.106")),
            "tensorrt is installed for CUDA 12 and CUDA 13; one hides the other",
            "pip uninstall tensorrt-cu12 tensorrt-cu12-libs",
        ),
        (
            replace(DESKTOP, packages=OTHERS | without(tensorrt_cu12="11.4.0.106")),
            "tensorrt is installed for CUDA 12 and CUDA 13; one hides the other",
            "pip uninstall tensorrt-cu12",
        ),
        (
            replace(DESKTOP, packages=without("tensorrt", "pycuda")),
            "tensorrt can build here but not run: pycuda missing",
            'pip install "fer-edge[cuda]"',
        ),
        (
            replace(DESKTOP, packages=without(tensorrt_cu13_libs="11.3.0.10")),
            "tensorrt-cu13-bindings 11.4.0.106, tensorrt-cu13-libs 11.3.0.10",
            "--force-reinstall tensorrt==11.4.0.106",
        ),
        (
            replace(DESKTOP, packages=without("pycuda")),
            "tensorrt can build here but not run: pycuda missing",
            'pip install "fer-edge[cuda]"',
        ),
        (replace(ORIN, l4t=(35, 4)), "L4T 35.4, whose TensorRT is 8", "update to JetPack 6.1"),
        (ORIN, "JetPack's TensorRT is not visible to this Python", "--system-site-packages"),
    ],
)
def test_each_problem_has_its_remedy(machine: Machine, problem: str, remedy: str) -> None:
    first = diagnose(machine)[0]
    assert problem in first.problem, first
    assert remedy in first.remedy, first


def test_other_packages_are_no_problem() -> None:
    assert diagnose(replace(DESKTOP, packages={**PIP, **OTHERS})) == []
    old_driver = Driver((11, 8), (RTX_4070,))
    assert diagnose(replace(DESKTOP, driver=old_driver, packages=OTHERS)) == []
    assert products(replace(DESKTOP, packages=OTHERS)) == {}
    assert products(replace(DESKTOP, packages={**OTHERS, "tensorrt-rtx-cu13-libs": "1.7.1.116"})) == {
        "tensorrt-rtx": {"tensorrt-rtx-cu13-libs": 13}
    }


def test_package_names_are_normalised_like_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    packages = [
        SimpleNamespace(metadata={"Name": name}, version="11.4.0.106")
        for name in ("tensorrt_cu13_bindings", "TensorRT.cu13__libs", "numpy")
    ]
    monkeypatch.setattr(diagnostics_module, "distributions", lambda: packages)
    machine = probe_system()
    assert list(machine.packages) == ["tensorrt-cu13-bindings", "tensorrt-cu13-libs"]
    assert products(machine) == {"tensorrt": {"tensorrt-cu13-bindings": 13, "tensorrt-cu13-libs": 13}}


def test_rtx_and_tensorrt_may_differ_in_version() -> None:
    packages = {**PIP, "tensorrt-rtx": "1.7.1.116", "tensorrt-rtx-cu13": "1.7.1.116"}
    assert diagnose(replace(DESKTOP, packages=packages)) == []


def test_system_files_are_read(tmp_path: Path) -> None:
    for name, text in {
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64",
        "proc/sys/kernel/osrelease": "5.15.153.1-microsoft-standard-WSL2",
        "proc/driver/nvidia/version": "NVRM version: 580",
        ".dockerenv": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    machine = probe_system(tmp_path)
    assert (machine.l4t, machine.container, machine.wsl, machine.kernel_module) == ((36, 4), True, True, True)
    empty = probe_system(tmp_path / "nothing")
    assert (empty.l4t, empty.container, empty.wsl, empty.kernel_module) == (None, False, False, False)
    assert l4t_from_release("# R38 (release), REVISION: 2.0,") == (38, 2)
