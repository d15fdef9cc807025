"""From a bundle's engine file to a runner on this machine's GPU."""

from __future__ import annotations

from collections.abc import Callable

from fer_edge.engines.base import Artifact, Runner, RunOptions
from fer_edge.engines.tensorrt.api import Api
from fer_edge.engines.tensorrt.cuda import CudaDevice, cuda_python, pycuda_driver
from fer_edge.engines.tensorrt.deserialized import LoadedEngine
from fer_edge.engines.tensorrt.driver import compute_capability
from fer_edge.engines.tensorrt.runner import TensorRTRunner
from fer_edge.errors import EngineError


def check_runnable(api: Api, device: int = 0) -> None:
    """Whether these bindings can run something here: a driver, that GPU and both CUDA packages.

    Raises:
        EngineUnavailableError: Something is missing; says what.
    """
    compute_capability(device)
    pycuda_driver()
    cuda_python()


def load_runner(
    api: Api, load: Callable[[Api, Artifact, RunOptions], LoadedEngine], artifact: Artifact, options: RunOptions
) -> Runner:
    """A runner for a bundle's engine file.

    Raises:
        EngineUnavailableError: There is no GPU, or a CUDA package is missing.
        EngineError: The file is refused, or the GPU's memory is full.
    """
    if artifact.file is None:
        raise EngineError(f"the bundle holds no engine file for {api.name}; build one with: fer-edge build-engine")
    check_runnable(api, options.device)
    return TensorRTRunner(
        lambda: CudaDevice(options.device),
        lambda: load(api, artifact, options),
        artifact.max_batch,
        graphs=options.graphs,
    )
