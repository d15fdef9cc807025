"""What this machine has for running on an NVIDIA GPU, and what stands in the way: for `fer-edge doctor`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path

from fer_edge.engines.tensorrt.driver import Driver, read_driver
from fer_edge.errors import EngineUnavailableError

PACKAGES = re.compile(r"(tensorrt|pycuda|cuda-(python|bindings)|nvidia-cuda-runtime|nvidia-ml-py)")
# Those of the products, by pip's spelling: not tensorrt-stubs, nor what PyTorch brings of CUDA.
PRODUCT = re.compile(r"(tensorrt(?:-rtx)?)(?:-cu(\d+))?(?:-(?:bindings|libs))?")
OLDEST_TARGET = 75  # Turing, for TensorRT 10.3 and newer and for TensorRT-RTX
DRIVERS = {12: "r535", 13: "r580"}  # the first that runs pip packages of that CUDA
L4T_OF_TENSORRT_10 = (36, 4)  # JetPack 6.1; before it JetPack has TensorRT 8


@dataclass(frozen=True)
class Machine:
    """Facts, as found."""

    driver: Driver | None
    driver_error: str = ""  # why there is none
    packages: dict[str, str] = field(default_factory=dict)  # of TensorRT and CUDA, and their versions
    l4t: tuple[int, int] | None = None  # release of Jetson's Linux, (36, 4)
    container: bool = False
    wsl: bool = False
    kernel_module: bool = False  # the driver's, which a container shares with its host
    visible_devices: str | None = None  # CUDA_VISIBLE_DEVICES


@dataclass(frozen=True)
class Finding:
    """Something that stands in the way, and what to do about it."""

    problem: str
    remedy: str


def probe_system(root: Path = Path("/")) -> Machine:
    """Look.

    Args:
        root: Where the system's files are.
    """
    try:
        driver, error = read_driver(), ""
    except EngineUnavailableError as unavailable:
        driver, error = None, str(unavailable)
    return Machine(
        driver,
        error,
        packages=_packages(),
        l4t=l4t_from_release(_read(root / "etc/nv_tegra_release")),
        container=any((root / name).exists() for name in (".dockerenv", "run/.containerenv")),
        wsl="microsoft" in _read(root / "proc/sys/kernel/osrelease").lower(),
        kernel_module=(root / "proc/driver/nvidia/version").exists(),
        visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
    )


def l4t_from_release(text: str) -> tuple[int, int] | None:
    """Release of Jetson's Linux from `/etc/nv_tegra_release`; None on other machines."""
    found = re.search(r"R(\d+) \(release\), REVISION: (\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def diagnose(machine: Machine) -> list[Finding]:
    """What stands in the way of TensorRT here; the first to mend first."""
    return [*_driver(machine), *_gpus(machine), *_jetson(machine), *_packages_fit(machine), *_missing(machine)]


def products(machine: Machine) -> dict[str, dict[str, int | None]]:
    """`tensorrt` and `tensorrt-rtx`, where installed: their packages, and the CUDA each is named after."""
    found: dict[str, dict[str, int | None]] = {}
    for name in machine.packages:
        if parts := PRODUCT.fullmatch(name):
            found.setdefault(parts[1], {})[name] = int(parts[2]) if parts[2] else None
    return found


def _driver(machine: Machine) -> list[Finding]:
    if machine.driver is not None:
        return []
    if machine.l4t is not None:
        remedy = "install JetPack's packages: sudo apt install nvidia-jetpack; in a container add --runtime nvidia"
    elif machine.wsl:
        remedy = "install NVIDIA's driver in Windows; none in WSL, which uses that of Windows"
    elif machine.container:
        remedy = "start the container with --gpus all; the host needs NVIDIA's driver and its Container Toolkit"
    elif machine.kernel_module:
        remedy = "the driver's kernel module is there, its library is not: install the driver's package for programs"
    else:
        remedy = f"install NVIDIA's driver: {DRIVERS[13]} or newer for CUDA 13 packages, {DRIVERS[12]} for CUDA 12"
    return [Finding(machine.driver_error, f"{remedy}; TensorRT-RTX builds without one")]


def _gpus(machine: Machine) -> list[Finding]:
    if machine.driver is None:
        return []
    if not machine.driver.gpus:
        if machine.visible_devices is not None:
            return [Finding(f"CUDA_VISIBLE_DEVICES is {machine.visible_devices!r} and leaves no GPU", "unset it")]
        remedy = "start the container with --gpus all" if machine.container else "check that nvidia-smi lists the GPU"
        return [Finding("the driver finds no GPU", remedy)]
    return [
        Finding(
            f"{gpu.name} is {gpu.target}; TensorRT needs sm{OLDEST_TARGET} (Turing) or newer",
            "run on the CPU with OpenVINO",
        )
        for gpu in machine.driver.gpus
        if int(gpu.target.removeprefix("sm")) < OLDEST_TARGET
    ]


def _jetson(machine: Machine) -> list[Finding]:
    if machine.l4t is None:
        return []
    if machine.l4t < L4T_OF_TENSORRT_10:
        return [
            Finding(
                f"this Jetson runs L4T {machine.l4t[0]}.{machine.l4t[1]}, whose TensorRT is 8",
                "update to JetPack 6.1 (L4T 36.4, TensorRT 10.3) or newer",
            )
        ]
    if "tensorrt" not in products(machine):
        return [
            Finding(
                "JetPack's TensorRT is not seen by this Python",
                "make the environment with python3 -m venv --system-site-packages, and install python3-libnvinfer",
            )
        ]
    return []


def _packages_fit(machine: Machine) -> list[Finding]:
    """Packages of one CUDA, of one version, and no newer than the driver."""
    findings = []
    for product, packages in products(machine).items():
        majors = {major for major in packages.values() if major is not None}
        if len(majors) > 1:
            older = sorted(name for name, major in packages.items() if major == min(majors))
            several = " and ".join(f"CUDA {major}" for major in sorted(majors))
            findings.append(
                Finding(
                    f"{product} is installed for {several}; the one hides the other",
                    f"remove one: pip uninstall {' '.join(older)}",
                )
            )
        elif machine.driver is not None and max(majors, default=0) > machine.driver.cuda[0]:
            major, (driver_major, driver_minor) = max(majors), machine.driver.cuda
            findings.append(
                Finding(
                    f"{product} is for CUDA {major}; the driver runs CUDA up to {driver_major}.{driver_minor}",
                    f"update the driver to {DRIVERS.get(major, 'a newer one')} or newer, "
                    f"or pip install {product}-cu{driver_major}",
                )
            )
        findings += _versions_differ(product, {name: machine.packages[name] for name in packages})
    bindings = machine.packages.get("cuda-bindings")
    if bindings and machine.driver is not None and int(bindings.split(".")[0]) > machine.driver.cuda[0]:
        major = machine.driver.cuda[0]
        findings.append(
            Finding(
                f"cuda-python {bindings} is newer than the driver's CUDA {major}.{machine.driver.cuda[1]}",
                f"pip install 'cuda-python<{major + 1}', or update the driver",
            )
        )
    return findings


def _versions_differ(product: str, versions: dict[str, str]) -> list[Finding]:
    if len(set(versions.values())) < 2:
        return []
    listed = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    return [
        Finding(
            f"{product}'s packages are of several versions: {listed}",
            f"pip install --force-reinstall {product}=={max(versions.values(), key=_numbers)}",
        )
    ]


def _missing(machine: Machine) -> list[Finding]:
    installed = sorted(products(machine))
    absent = [name for name in ("pycuda", "cuda-bindings") if name not in machine.packages]
    if not installed or not absent or machine.driver is None:
        return []
    return [
        Finding(
            f"{' and '.join(installed)} can build here but not run: {' and '.join(absent)} missing",
            'pip install "fer-edge[cuda]"; PyCUDA is compiled then and needs the CUDA toolkit and a C++ compiler',
        )
    ]


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def _packages() -> dict[str, str]:
    found = {}
    for package in distributions():
        name = re.sub(r"[-_.]+", "-", package.metadata["Name"] or "").lower()  # as pip spells it
        if PACKAGES.match(name):
            found[name] = package.version
    return dict(sorted(found.items()))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
