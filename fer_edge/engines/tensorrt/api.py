"""Which bindings there are: TensorRT 10, TensorRT 11 or TensorRT-RTX, and what each of them can do.

Both products install beside each other, and a build machine may want both in one process. So the bindings are a value
that is passed on, never a module that everything imports. The type checker sees them as `Bindings`, the stub generated
from the installed module: `scripts/check_bindings` checks this package against all three.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from fer_edge._text import one_line
from fer_edge.engines.messages import lacks_resources, unavailable
from fer_edge.engines.quiet import import_package
from fer_edge.errors import EngineUnavailableError, UnsupportedTargetError

if TYPE_CHECKING:
    from tensorrt_types import Bindings

Product = Literal["tensorrt", "tensorrt-rtx"]
Version = tuple[int, int]

MODULES: dict[Product, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
NAMES: dict[Product, str] = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
JETSON = Path("/etc/nv_tegra_release")
OLDEST: dict[Product, Version] = {"tensorrt": (10, 3), "tensorrt-rtx": (1, 4)}

# Feature -> the first version of each product that has it; None: never. Read from the bindings of every minor version,
# 10.0 to 11.4 and 1.4 to 1.7; what TensorRT-RTX has in its bindings only, from what its builder answered when asked.
FEATURES: dict[str, dict[Product, Version | None]] = {
    # Kernels are timed while building, and the times can be kept.
    "timing_cache": {"tensorrt": (10, 0), "tensorrt-rtx": None},
    "version_compatible": {"tensorrt": (10, 0), "tensorrt-rtx": None},
    "hardware_compatible": {"tensorrt": (10, 0), "tensorrt-rtx": None},
    "same_compute_capability": {"tensorrt": (10, 9), "tensorrt-rtx": None},
    # Building on Linux for Windows; TensorRT-RTX's engines run on both as they are.
    "runtime_platform": {"tensorrt": (10, 2), "tensorrt-rtx": None},
    "aux_streams": {"tensorrt": (10, 0), "tensorrt-rtx": None},
}


@dataclass(frozen=True)
class Api:
    """Bindings that were found, with their version."""

    product: Product
    trt: Bindings
    version: str

    @property
    def name(self) -> str:
        """Product and version, as a message names them."""
        return f"{NAMES[self.product]} {self.version}"

    def has(self, feature: str) -> bool:
        """Whether these bindings have a feature of `FEATURES`."""
        first = FEATURES[feature][self.product]
        return first is not None and version_pair(self.version) >= first

    def require(self, feature: str, option: str) -> None:
        """Refuse an option that needs a feature these bindings lack.

        Raises:
            UnsupportedTargetError: They lack it; says which version has it.
        """
        if self.has(feature):
            return
        first = FEATURES[feature][self.product]
        remedy = "leave it out" if first is None else f"it needs {first[0]}.{first[1]} or newer"
        raise UnsupportedTargetError(f"{self.name} has no {option}; {remedy}")


def version_pair(version: str) -> Version:
    """Major and minor of `11.4.0.106`."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def find_api(product: Product) -> Api:
    """The installed bindings of a product.

    Raises:
        EngineUnavailableError: They are not installed, cannot be loaded or are too old; says what to install.
    """
    name, oldest = NAMES[product], OLDEST[product]
    install = f'pip install "fer-edge[{product}]"'
    if product == "tensorrt" and JETSON.exists():
        install = "python3 -m venv --system-site-packages; JetPack brings TensorRT (apt: python3-libnvinfer)"
    try:
        module = import_package(MODULES[product])
        version = str(module.__version__)
    except ModuleNotFoundError as error:
        raise EngineUnavailableError(f"{name} cannot be imported ({error}); run: {install}") from error
    except (ImportError, OSError, AttributeError, MemoryError) as error:
        if lacks_resources(error):
            raise unavailable(name, "cannot be imported", error) from error
        # The bindings are there, their native libraries are not, or are another version's.
        raise EngineUnavailableError(
            f"{name} is installed but does not load ({one_line(str(error))}); reinstall it whole: pip uninstall "
            f"{product}, then {install}. `fer-edge doctor` lists what is installed"
        ) from error
    if version_pair(version) < oldest:
        raise EngineUnavailableError(f"{name} {version} is installed; fer-edge needs {oldest[0]}.{oldest[1]} or newer")
    return Api(product, cast("Bindings", module), version)
