"""A TensorRT-RTX engine on the user's GPU: checked by its header, compiled once, kept for the next start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fer_edge.engines.base import Artifact, RunOptions
from fer_edge.engines.tensorrt.api import Api
from fer_edge.engines.tensorrt.caches import CacheFile, cache_name, default_folder
from fer_edge.engines.tensorrt.callbacks import LOG
from fer_edge.engines.tensorrt.deserialized import LoadedEngine
from fer_edge.engines.tensorrt.driver import compute_capability
from fer_edge.engines.tensorrt.errors import loading_failed

if TYPE_CHECKING:
    from tensorrt_types import IExecutionContext, IRuntimeCache, IRuntimeConfig, Runtime


class LoadedRTXEngine(LoadedEngine):
    """Kernels are compiled when a context first runs a shape; a cache on disk spares that the next time."""

    def __init__(self, api: Api, artifact: Artifact, options: RunOptions) -> None:
        assert artifact.file is not None
        name = cache_name("kernels", artifact.file, api.version, compute_capability(options.device))
        self._file = CacheFile(Path(options.cache or default_folder()), name)
        self._stored = b""
        self._cache: IRuntimeCache | None = None
        super().__init__(api, artifact, options)

    def check_file(self, runtime: Runtime, file: bytes) -> None:
        """Ask the header: its answer names the cause, where loading would not."""
        trt = self.api.trt
        validity, found = runtime.get_engine_validity(file)
        names = [item.name for item in trt.EngineInvalidityDiagnostics.__members__.values() if item.value & found]
        if names and validity == trt.EngineValidity.INVALID:
            for name in names:
                self.messages.heard.add(name, f"the engine's header says {name}")
            raise loading_failed(self.api.name, self.messages)
        if names:
            LOG.warning("the engine runs here, but not at its best: %s", ", ".join(names))

    def new_context(self) -> IExecutionContext:
        self.messages.clear()
        trt, config = self.api.trt, self.engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        # Each shape is compiled before its first run ends: a graph must not hold the slow kernels meant to bridge that.
        eager = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        config.dynamic_shapes_kernel_specialization_strategy = eager
        config.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED  # the runner captures its own
        config.set_runtime_cache(self._kernels(config))
        context = self.engine.create_execution_context(config)
        del config  # before an error: it holds the engine, and a traceback would hold it
        return self.made(context)

    def can_capture(self, context: IExecutionContext, stream: int) -> bool:
        return context.is_stream_capturable(stream)

    def warmed_up(self) -> None:
        """Keep what was compiled, if something was."""
        assert self._cache is not None
        if bytes(self._cache.serialize()) != self._stored:
            self._file.update(self._merged)

    def close(self) -> None:
        self._cache = None
        super().close()

    def _kernels(self, config: IRuntimeConfig) -> IRuntimeCache:
        """The one cache of all contexts, with what is on disk; of another GPU, driver or version it takes nothing."""
        if self._cache is None:
            self._cache = config.create_runtime_cache()
            self._stored = self._file.read()
            if self._stored and not self._cache.deserialize(self._stored):
                LOG.info("%s is of another GPU, driver or version; kernels are compiled anew", self._file.path)
        return self._cache

    def _merged(self, present: bytes) -> bytes:
        assert self._cache is not None
        if present and present != self._stored:
            self._cache.deserialize(present)  # another process was faster
        return bytes(self._cache.serialize())
