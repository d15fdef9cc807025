"""Bindings of TensorRT 10, TensorRT 11 and TensorRT-RTX, with the features of each version.

Both products can be installed side by side, and one process may build with both. The bindings are therefore a value
that functions receive, not a module that every file imports. The type checker sees them as `Bindings`, a stub that is
generated from the installed module; `scripts/check_bindings` checks this package against all three.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from fer_edge._text import one_line
from fer_edge.engines.messages import lacks_resources, unavailable
from fer_edge.engines.quiet import Package, import_package
from fer_edge.errors import EngineUnavailableError, UnsupportedTargetError

if TYPE_CHECKING:
    from tensorrt_types import Bindings

LOG = logging.getLogger("fer_edge.tensorrt")
LOG.addHandler(logging.NullHandler())  # no output unless the app configures logging

Product = Literal["tensorrt", "tensorrt-rtx"]
Version = tuple[int, int]

# No telemetry was observed in these, nor in the CUDA packages, up to their versions of 2026.
PACKAGES: dict[Product, Package] = {
    "tensorrt": Package("tensorrt", "tensorrt"),
    "tensorrt-rtx": Package("tensorrt_rtx", "tensorrt-rtx"),
}
NAMES: dict[Product, str] = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
JETSON = Path("/etc/nv_tegra_release")
OLDEST: dict[Product, Version] = {"tensorrt": (10, 3), "tensorrt-rtx": (1, 4)}

# First version of each product that has the feature behind a build option; None: no version. TensorRT's entries are
# read from the bindings of every minor version, 10.0 to 11.4. The bindings of TensorRT-RTX, 1.4 to 1.7, have some of
# these names too, but its builder ignores or rejects them; its entries come from trial builds.
FEATURES: dict[str, dict[Product, Version | None]] = {
    "aux_streams": {"tensorrt": (10, 0), "tensorrt-rtx": None},
    "version_compatible": {"tensorrt": (10, 0), "tensorrt-rtx": None},
    "hardware_compatible": {"tensorrt": (10, 0), "tensorrt-rtx": None},
    "hardware_compatible = same-compute-capability": {"tensorrt": (10, 9), "tensorrt-rtx": None},
    "platform": {"tensorrt": (10, 2), "tensorrt-rtx": None},
    "timing_cache": {"tensorrt": (10, 0), "tensorrt-rtx": None},
}
UNNEEDED = {  # reasons why TensorRT-RTX needs no such option
    "hardware_compatible": ": its engines run on every target they are built for",
    "platform": ": its engines run on Linux and Windows as they are",
}


@dataclass(frozen=True)
class Api:
    """Installed bindings of one product, with their version."""

    product: Product
    trt: Bindings
    version: str

    @property
    def name(self) -> str:
        """Product and version for messages: `TensorRT 11.4.0.106`."""
        return f"{NAMES[self.product]} {self.version}"

    def require(self, feature: str) -> None:
        """Check that these bindings have the feature behind a build option.

        Args:
            feature: Key of `FEATURES`.

        Raises:
            UnsupportedTargetError: Feature missing in this version; the message names the first version that has it.
        """
        first = FEATURES[feature][self.product]
        if first is None:
            raise UnsupportedTargetError(f"{self.name} has no {feature}{UNNEEDED.get(feature, '')}; leave it out")
        if version_pair(self.version) < first:
            raise UnsupportedTargetError(f"{self.name} has no {feature}; it needs {first[0]}.{first[1]} or newer")


def version_pair(version: str) -> Version:
    """Return major and minor number of a version such as `11.4.0.106`."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def find_api(product: Product) -> Api:
    """Import the installed bindings of a product.

    Raises:
        EngineUnavailableError: Bindings missing, broken or too old; the message has the command that installs them.
    """
    name, oldest = NAMES[product], OLDEST[product]
    install = f'pip install "fer-edge[{product}]"'
    if product == "tensorrt" and JETSON.exists():
        install = "python3 -m venv --system-site-packages; JetPack includes TensorRT (apt: python3-libnvinfer)"
    try:
        module = import_package(PACKAGES[product])
        version = str(module.__version__)
    except ModuleNotFoundError as error:
        raise EngineUnavailableError(f"{name} cannot be imported ({error}); run: {install}") from error
    except (ImportError, OSError, AttributeError, MemoryError) as error:
        if lacks_resources(error):
            raise unavailable(name, "cannot be imported", error) from error
        # The bindings are installed, but their native libraries are missing or have another version.
        raise EngineUnavailableError(
            f"{name} is installed but does not load ({one_line(str(error))}); reinstall it completely: pip uninstall "
            f"{product}, then {install}. `fer-edge doctor` lists the installed packages"
        ) from error
    if version_pair(version) < oldest:
        raise EngineUnavailableError(f"{name} {version} is installed; fer-edge needs {oldest[0]}.{oldest[1]} or newer")
    return Api(product, cast("Bindings", module), version)
