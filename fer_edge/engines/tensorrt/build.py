"""Build of a serialized engine ("plan") from typed ONNX, shared by TensorRT and TensorRT-RTX.

It calls the bindings directly, not through Polygraphy. Polygraphy chooses between the two products once per process,
by an environment variable that it reads on import. It also has no type annotations, so the type checker could not check
our calls against the three sets of bindings.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from fer_edge._settings import convert, convert_fields
from fer_edge.engines.base import IMAGE_SIZE, INPUT_NAME, BuildRequest, ExecutedOperator
from fer_edge.engines.tensorrt.api import Api
from fer_edge.engines.tensorrt.errors import Messages, create_object, logger_for
from fer_edge.engines.tensorrt.inspector import operators_of_network
from fer_edge.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from tensorrt_types import Builder, IBuilderConfig, INetworkDefinition, OnnxParser

    Configure = Callable[[IBuilderConfig], AbstractContextManager[None]]


@dataclass(frozen=True)
class BuilderOptions:
    """Builder options of both products. An option that the installed version lacks is refused, not ignored."""

    # None: the builder's default. A higher level tries more kernels: a longer build, possibly a faster engine.
    optimization_level: Annotated[int, Meta(ge=0, le=5)] | None = None
    # Batch sizes with their own optimisation profile, for which kernels are chosen. If there are several profiles, the
    # profile of batch size 1 accepts single images only. With TensorRT-RTX each profile adds an engine's size to the
    # file.
    optimal_batches: tuple[Annotated[int, Meta(ge=1, le=1024)], ...] = (1,)
    # Scratch memory that a kernel may use, in MiB; None: all GPU memory.
    workspace_mb: Annotated[int, Meta(ge=1, le=1 << 20)] | None = None
    # Number of extra streams for independent layers; None: TensorRT's heuristic.
    aux_streams: Annotated[int, Meta(ge=0, le=64)] | None = None
    tf32: bool = False  # compute float32 products with 10-bit mantissas
    weights: Literal["inside", "stripped"] = (
        "inside"  # stripped: the engine file has no weights; loading refits them from model.onnx
    )
    version_compatible: bool = False  # runs on newer TensorRT of the same major version, somewhat slower
    hardware_compatible: Literal["no", "ampere-plus", "same-compute-capability"] = (
        "no"  # runs on other GPUs too, somewhat slower
    )
    platform: Literal["this", "windows-x86_64"] = "this"  # windows-x86_64: build on Linux for Windows
    timing_cache: str | None = None  # folder for kernel timings, which speed up the next build of the same model

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: Value of the wrong type, out of range or not among the choices.
        """
        convert_fields(self)
        if not self.optimal_batches or len(set(self.optimal_batches)) != len(self.optimal_batches):
            raise ConfigError(f"optimal_batches is {list(self.optimal_batches)}; expected different batch sizes")

    def profiles(self, max_batch: int) -> list[tuple[int, int, int]]:
        """Return smallest, optimal and largest batch size of each optimisation profile.

        Args:
            max_batch: Largest batch size of the engine, which at least one profile accepts.

        Raises:
            ConfigError: Optimal batch size larger than `max_batch`.
        """
        if max(self.optimal_batches) > max_batch:
            raise ConfigError(f"optimal_batches has {max(self.optimal_batches)}; the engine takes at most {max_batch}")
        several = len(self.optimal_batches) > 1
        return [(1, batch, 1 if batch == 1 and several else max_batch) for batch in self.optimal_batches]

    def check_features(self, api: Api) -> None:
        """Refuse options that the installed version lacks: its builder would ignore some of them.

        Raises:
            UnsupportedTargetError: Option without its feature.
        """
        chosen = {
            "aux_streams": self.aux_streams is not None,
            "version_compatible": self.version_compatible,
            "hardware_compatible": self.hardware_compatible != "no",
            "hardware_compatible = same-compute-capability": self.hardware_compatible == "same-compute-capability",
            "platform": self.platform != "this",
            "timing_cache": self.timing_cache is not None,
        }
        for feature in (feature for feature, is_chosen in chosen.items() if is_chosen):
            api.require(feature)


def options_from_settings(settings: Mapping[str, Any]) -> BuilderOptions:
    """Create options from a recipe's table or from the command line.

    Args:
        settings: Values by option name; `optimal_batches` may also be a single batch size.

    Raises:
        ConfigError: Unknown name, or invalid value.
    """
    batches = settings.get("optimal_batches")
    values = {**settings, "optimal_batches": [batches]} if isinstance(batches, int) else settings
    return convert(values, BuilderOptions, "options")


def plan_from_onnx(
    api: Api, model: bytes, request: BuildRequest, options: BuilderOptions, configure: Configure
) -> tuple[bytes, tuple[ExecutedOperator, ...]]:
    """Build an engine.

    Args:
        api: Bindings to build with.
        model: Typed ONNX. The network is strongly typed, so these types are the engine's types.
        request: Largest batch size and progress callback.
        options: Builder options that both products share.
        configure: Product-specific configuration, as a context manager around the build: it can read results of the
            build, such as the timing cache, on exit.

    Returns:
        The plan, and the operators of the network, whose types the engine must use.

    Raises:
        EngineUnavailableError: Builder that does not start on this machine.
        EngineError: Model that cannot be parsed or built; the message has TensorRT's reason.
    """
    logger, messages = logger_for(api.trt)
    builder = create_object(api, "builder", lambda: api.trt.Builder(logger), messages)
    # No error recorder here: the network would inherit it, and TensorRT-RTX 1.7 crashes when such a network is freed.
    # Without a recorder all errors go to the logger.
    network = builder.create_network(1 << int(api.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = api.trt.OnnxParser(network, logger)
    if not parser.parse(model):
        raise EngineError(f"{api.name} cannot read the model: {_parser_errors(parser) or messages.reason()}")
    operators = operators_of_network(network)
    config = builder.create_builder_config()
    _apply_options(api, builder, config, options, request.max_batch)
    with configure(config):
        return _serialize(api, builder, network, config, request, messages), operators


def _apply_options(api: Api, builder: Builder, config: IBuilderConfig, options: BuilderOptions, max_batch: int) -> None:
    flags = api.trt.BuilderFlag
    for smallest, optimal, largest in options.profiles(max_batch):
        profile = builder.create_optimization_profile()
        shapes = [api.trt.Dims([batch, IMAGE_SIZE, IMAGE_SIZE, 3]) for batch in (smallest, optimal, largest)]
        profile.set_shape(INPUT_NAME, *shapes)
        config.add_optimization_profile(profile)
    config.profiling_verbosity = api.trt.ProfilingVerbosity.DETAILED  # the engine inspector needs it for layer details
    if not options.tf32:
        config.clear_flag(flags.TF32)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.workspace_mb is not None:
        config.set_memory_pool_limit(api.trt.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
    if options.weights == "stripped":
        config.set_flag(flags.STRIP_PLAN)
        # Not REFIT: with that flag TensorRT 11.3 can drop biases. The weights are refitted from the same model.onnx.
        config.set_flag(flags.REFIT_IDENTICAL)


def _serialize(
    api: Api,
    builder: Builder,
    network: INetworkDefinition,
    config: IBuilderConfig,
    request: BuildRequest,
    messages: Messages,
) -> bytes:
    class Monitor(BuildProgress, api.trt.IProgressMonitor):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            api.trt.IProgressMonitor.__init__(self)
            BuildProgress.__init__(self, request.progress)

    messages.clear()
    monitor = Monitor()
    config.progress_monitor = monitor
    with monitor.catching_interrupts():
        plan = builder.build_serialized_network(network, config)
    monitor.reraise()
    if plan is None:  # returned on failure, although the type stub does not say so
        raise EngineError(f"{api.name} could not build the engine: {messages.reason()}")
    return bytes(plan)


def _parser_errors(parser: OnnxParser) -> str:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    return "; ".join(f"{error.node_operator() or 'model'} {error.node_name()}: {error.desc()}" for error in errors)


class BuildProgress:
    """Methods of a progress monitor: TensorRT's nested build phases for a callback, with cancellation.

    An exception must not cross native code. An exception of the callback, or Ctrl-C within `catching_interrupts`, is
    stored and cancels the build; `reraise` raises it afterwards.

    Args:
        progress: Callback that receives the phase, its finished steps and all of its steps; None for no callback.
    """

    def __init__(self, progress: Callable[[str, int, int], None] | None) -> None:
        self._progress = progress
        self._steps: dict[str, int] = {}
        self.stopped: BaseException | None = None

    def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
        """Report the start of a phase."""
        self._steps[phase] = steps
        self._report(phase, 0)

    def phase_finish(self, phase: str) -> None:
        """Report the end of a phase."""
        self._report(phase, self._steps.pop(phase, 0))

    def step_complete(self, phase: str, step: int) -> bool:
        """Report a finished step; return whether the build should continue."""
        self._report(phase, step + 1)
        return self.stopped is None

    @contextmanager
    def catching_interrupts(self) -> Iterator[None]:
        """Cancel the build on Ctrl-C.

        Python would raise KeyboardInterrupt inside of the next callback, where TensorRT swallows it.
        """
        in_main_thread = threading.current_thread() is threading.main_thread()
        if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield  # the main thread receives the signal, or the app has installed its own handler
            return

        def interrupt(number: int, frame: FrameType | None) -> None:
            self.stopped = KeyboardInterrupt()

        signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def reraise(self) -> None:
        """Raise the exception that cancelled the build, if any."""
        if self.stopped is not None:
            raise self.stopped

    def _report(self, phase: str, done: int) -> None:
        if self.stopped is not None or self._progress is None:
            return
        try:
            self._progress(phase, done, self._steps.get(phase, done))
        except BaseException as error:
            self.stopped = error
