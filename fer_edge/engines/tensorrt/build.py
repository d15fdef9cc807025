"""Build of a serialized engine ("plan") from typed ONNX, shared by TensorRT and TensorRT-RTX.

It calls the bindings directly, not through Polygraphy. Polygraphy chooses between the two products once per process,
by an environment variable that it reads on import. It also has no type annotations, so the type checker could not check
our calls against the three sets of bindings.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from fer_edge.engines.base import IMAGE_SIZE, INPUT_NAME, BuildRequest, ExecutedOperator
from fer_edge.engines.tensorrt.api import Api
from fer_edge.engines.tensorrt.callbacks import Messages, ProgressAdapter, logger_for, monitor_for
from fer_edge.engines.tensorrt.errors import create_object
from fer_edge.engines.tensorrt.inspector import operators_of_network
from fer_edge.engines.tensorrt.options import BuilderOptions
from fer_edge.errors import EngineError

if TYPE_CHECKING:
    from tensorrt_types import Builder, IBuilderConfig, INetworkDefinition, OnnxParser

    Configure = Callable[[IBuilderConfig], AbstractContextManager[None]]


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
    messages.clear()
    adapter = ProgressAdapter(request.progress or _ignore_progress)
    config.progress_monitor = monitor_for(api.trt, adapter)
    with adapter.catching_interrupts():
        plan = builder.build_serialized_network(network, config)
    adapter.reraise()
    if plan is None:  # returned on failure, although the type stub does not say so
        raise EngineError(f"{api.name} could not build the engine: {messages.reason()}")
    return bytes(plan)


def _parser_errors(parser: OnnxParser) -> str:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    return "; ".join(f"{error.node_operator() or 'model'} {error.node_name()}: {error.desc()}" for error in errors)


def _ignore_progress(phase: str, done: int, total: int) -> None:
    pass
