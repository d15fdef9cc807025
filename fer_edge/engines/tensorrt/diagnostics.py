"""Diagnostics for NVIDIA GPUs: driver, packages and container of this system, problems and remedies."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import distributions
from pathlib import Path

from fer_edge.engines.capabilities import Finding, SystemReport
from fer_edge.errors import EngineUnavailableError
from fer_edge.hardware.gpu import Driver, read_driver
from fer_edge.hardware.limits import read_text

PACKAGES = re.compile(r"(tensorrt|pycuda|cuda-(python|bindings)|nvidia-cuda-runtime|nvidia-ml-py)")
# Packages of the two products, with names as pip normalises them; not tensorrt-stubs, nor PyTorch's CUDA packages.
PRODUCT = re.compile(r"(tensorrt(?:-rtx)?)(?:-cu(\d+))?(?:-(?:bindings|libs))?")
OLDEST_TARGET = 75  # Turing, for TensorRT 10.3 and newer and for TensorRT-RTX
DRIVERS = {12: "r535", 13: "r580"}  # CUDA major version -> oldest driver that runs its pip packages
L4T_OF_TENSORRT_10 = (36, 4)  # JetPack 6.1; earlier releases have TensorRT 8


@dataclass(frozen=True)
class Machine:
    """Facts about this system."""

    driver: Driver | None
    driver_error: str = ""  # reason if `driver` is None
    packages: dict[str, str] = field(default_factory=dict)  # versions of the TensorRT and CUDA packages, by name
    l4t: tuple[int, int] | None = None  # release of Jetson Linux, (36, 4); None on other machines
    container: bool = False
    wsl: bool = False
    kernel_module: bool = False  # driver's kernel module is loaded; a container shares it with its host
    visible_devices: str | None = None  # CUDA_VISIBLE_DEVICES


def report_system() -> SystemReport:
    """Diagnose this system for both products."""
    machine = probe_system()
    gpus = machine.driver.gpus if machine.driver is not None else ()
    return SystemReport(
        asdict(machine),
        tuple(f"GPU: {gpu.name}, GPU architecture {gpu.target}, {gpu.memory_mb} MB" for gpu in gpus),
        tuple(diagnose(machine)),
        concerned=bool(gpus or products(machine)),
    )


def probe_system(root: Path = Path("/")) -> Machine:
    """Probe driver, packages and container of this system.

    Args:
        root: Root of the file system.
    """
    try:
        driver, error = read_driver(), ""
    except EngineUnavailableError as unavailable:
        driver, error = None, str(unavailable)
    return Machine(
        driver,
        error,
        packages=_packages(),
        l4t=l4t_from_release(read_text(root / "etc/nv_tegra_release")),
        container=any((root / name).exists() for name in (".dockerenv", "run/.containerenv")),
        wsl="microsoft" in read_text(root / "proc/sys/kernel/osrelease").lower(),
        kernel_module=(root / "proc/driver/nvidia/version").exists(),
        visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
    )


def l4t_from_release(text: str) -> tuple[int, int] | None:
    """Parse the Jetson Linux release from the text of `/etc/nv_tegra_release`; None if it contains no release."""
    match = re.search(r"R(\d+) \(release\), REVISION: (\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def diagnose(machine: Machine) -> list[Finding]:
    """Return the problems that prevent running TensorRT on a machine, in the order in which to solve them."""
    checks = (_check_driver, _check_gpus, _check_jetson, _check_versions, _check_cuda_packages)
    return [finding for check in checks for finding in check(machine)]


def products(machine: Machine) -> dict[str, dict[str, int | None]]:
    """Return the installed products.

    Returns:
        `tensorrt` and `tensorrt-rtx`, each with its packages and the CUDA major version in each package's name.
    """
    installed: dict[str, dict[str, int | None]] = {}
    for name in machine.packages:
        if parts := PRODUCT.fullmatch(name):
            installed.setdefault(parts[1], {})[name] = int(parts[2]) if parts[2] else None
    return installed


def _check_driver(machine: Machine) -> Iterator[Finding]:
    if machine.driver is not None:
        return
    if machine.l4t is not None:
        remedy = "install JetPack's packages: sudo apt install nvidia-jetpack; in a container add --runtime nvidia"
    elif machine.wsl:
        remedy = "install NVIDIA's driver in Windows, and no driver in WSL, which uses the one of Windows"
    elif machine.container:
        remedy = "start the container with --gpus all; the host needs NVIDIA's driver and its Container Toolkit"
    elif machine.kernel_module:
        remedy = (
            "the driver's kernel module is loaded, its user-space library is missing: install the driver's libraries"
        )
    else:
        remedy = f"install NVIDIA's driver: {DRIVERS[13]} or newer for CUDA 13 packages, {DRIVERS[12]} for CUDA 12"
    yield Finding(machine.driver_error, f"{remedy}; TensorRT-RTX builds without a driver")


def _check_gpus(machine: Machine) -> Iterator[Finding]:
    if machine.driver is None:
        return
    if not machine.driver.gpus and machine.visible_devices is not None:
        yield Finding(f"CUDA_VISIBLE_DEVICES is {machine.visible_devices!r} and hides every GPU", "unset it")
    elif not machine.driver.gpus:
        remedy = "start the container with --gpus all" if machine.container else "check that nvidia-smi lists the GPU"
        yield Finding("the driver finds no GPU", remedy)
    for gpu in machine.driver.gpus:
        if int(gpu.target.removeprefix("sm")) < OLDEST_TARGET:
            problem = f"{gpu.name} is {gpu.target}; TensorRT needs sm{OLDEST_TARGET} (Turing) or newer"
            yield Finding(problem, "run on the CPU with OpenVINO")


def _check_jetson(machine: Machine) -> Iterator[Finding]:
    if machine.l4t is not None and machine.l4t < L4T_OF_TENSORRT_10:
        problem = f"this Jetson runs L4T {machine.l4t[0]}.{machine.l4t[1]}, whose TensorRT is 8"
        yield Finding(problem, "update to JetPack 6.1 (L4T 36.4, TensorRT 10.3) or newer")
    elif machine.l4t is not None and "tensorrt" not in products(machine):
        yield Finding(
            "JetPack's TensorRT is not visible to this Python",
            "create the environment with python3 -m venv --system-site-packages, and install python3-libnvinfer",
        )


def _check_versions(machine: Machine) -> Iterator[Finding]:
    """Check that a product's packages have one version and one CUDA version, which the driver supports."""
    driver_cuda = (99, 0) if machine.driver is None else machine.driver.cuda  # a missing driver is reported before
    newest = ".".join(map(str, driver_cuda))
    for product, packages in products(machine).items():
        majors = {major for major in packages.values() if major is not None}
        if len(majors) > 1:
            older = sorted(name for name, major in packages.items() if major == min(majors))
            listed = " and ".join(f"CUDA {major}" for major in sorted(majors))
            problem = f"{product} is installed for {listed}; one hides the other"
            yield Finding(problem, f"remove one of them: pip uninstall {' '.join(older)}")
        elif max(majors, default=0) > driver_cuda[0]:
            major = max(majors)
            yield Finding(
                f"{product} is for CUDA {major}; the driver runs CUDA up to {newest}",
                f"update the driver to {DRIVERS.get(major, 'a newer one')} or newer, "
                f"or pip install {product}-cu{driver_cuda[0]}",
            )
        versions = {name: machine.packages[name] for name in packages}
        if len(set(versions.values())) > 1:
            listed = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
            yield Finding(
                f"{product}'s packages have different versions: {listed}",
                f"pip install --force-reinstall {product}=={max(versions.values(), key=_numbers)}",
            )
    bindings = machine.packages.get("cuda-bindings")
    if bindings and int(bindings.split(".")[0]) > driver_cuda[0]:
        yield Finding(
            f"cuda-python {bindings} is newer than the driver's CUDA {newest}",
            f"pip install 'cuda-python<{driver_cuda[0] + 1}', or update the driver",
        )


def _check_cuda_packages(machine: Machine) -> Iterator[Finding]:
    installed = " and ".join(sorted(products(machine)))
    absent = " and ".join(name for name in ("pycuda", "cuda-bindings") if name not in machine.packages)
    if installed and absent and machine.driver is not None:
        yield Finding(
            f"{installed} can build here but not run: {absent} missing",
            'pip install "fer-edge[cuda]"; pip compiles PyCUDA, which needs the CUDA toolkit and a C++ compiler',
        )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def _packages() -> dict[str, str]:
    packages = {}
    for package in distributions():
        name = re.sub(r"[-_.]+", "-", package.metadata["Name"] or "").lower()  # as pip normalises names
        if PACKAGES.match(name):
            packages[name] = package.version
    return dict(sorted(packages.items()))
