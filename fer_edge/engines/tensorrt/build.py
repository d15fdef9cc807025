"""A typed ONNX model to a serialized engine ("plan"), the same way for TensorRT and TensorRT-RTX.

Straight on the bindings: Polygraphy picks one of the two products once per process, by an environment variable read
when it is imported, and as it is untyped, nothing could check our calls against three versions of the bindings.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from fer_edge.engines.base import IMAGE_SIZE, INPUT_NAME, BuildRequest, ExecutedOperator
from fer_edge.engines.tensorrt.api import Api
from fer_edge.engines.tensorrt.callbacks import Messages, ProgressListener, logger_for, monitor_for
from fer_edge.engines.tensorrt.errors import started
from fer_edge.engines.tensorrt.network import operators_of_network
from fer_edge.engines.tensorrt.options import BuilderOptions
from fer_edge.errors import EngineError

if TYPE_CHECKING:
    from tensorrt_types import Builder, IBuilderConfig, INetworkDefinition, OnnxParser

    Prepare = Callable[[IBuilderConfig], AbstractContextManager[None]]


def plan_from_onnx(
    api: Api, model: bytes, request: BuildRequest, options: BuilderOptions, prepare: Prepare
) -> tuple[bytes, tuple[ExecutedOperator, ...]]:
    """Build an engine; with it come the operators of its network, whose types it must keep to.

    Args:
        api: The bindings to build with.
        model: The typed ONNX. The network is strongly typed: its types are the engine's.
        request: Largest batch and whom to tell of progress.
        options: Builder options that both products have.
        prepare: Sets the rest; around the build, so that it may keep what comes of it.

    Raises:
        EngineUnavailableError: The builder does not start on this machine.
        EngineError: The model cannot be read or built; says what TensorRT said.
    """
    logger, messages = logger_for(api.trt)
    builder = started(api, "builder", lambda: api.trt.Builder(logger), messages)
    # No error recorder: the network would inherit it, and TensorRT-RTX 1.7 crashes when that is freed. The log has all.
    network = builder.create_network(1 << int(api.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = api.trt.OnnxParser(network, logger)
    if not parser.parse(model):
        raise EngineError(f"{api.name} cannot read the model: {_parser_errors(parser) or messages.reason()}")
    operators = operators_of_network(network)
    config = builder.create_builder_config()
    _configure(api, builder, config, options, request.max_batch)
    with prepare(config):
        return _serialize(api, builder, network, config, request, messages), operators


def _configure(api: Api, builder: Builder, config: IBuilderConfig, options: BuilderOptions, max_batch: int) -> None:
    flags = api.trt.BuilderFlag
    for smallest, optimal, largest in options.profiles(max_batch):
        profile = builder.create_optimization_profile()
        shapes = [api.trt.Dims([batch, IMAGE_SIZE, IMAGE_SIZE, 3]) for batch in (smallest, optimal, largest)]
        profile.set_shape(INPUT_NAME, *shapes)
        config.add_optimization_profile(profile)
    config.profiling_verbosity = api.trt.ProfilingVerbosity.DETAILED  # what the engine inspector tells depends on it
    if not options.tf32:
        config.clear_flag(flags.TF32)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.workspace_mb is not None:
        config.set_memory_pool_limit(api.trt.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
    if options.weights == "stripped":
        config.set_flag(flags.STRIP_PLAN)
        # Not REFIT: with it TensorRT 11.3 can drop biases. The weights come from the same model.onnx.
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
    listener = ProgressListener(request.progress or _say_nothing)
    config.progress_monitor = monitor_for(api.trt, listener)
    with listener.catching_interrupts():
        plan = builder.build_serialized_network(network, config)
    listener.reraise()
    if plan is None:  # the stub knows no None here; the documentation does
        raise EngineError(f"{api.name} could not build the engine: {messages.reason()}")
    return bytes(plan)


def _parser_errors(parser: OnnxParser) -> str:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    return "; ".join(f"{error.node_operator() or 'model'} {error.node_name()}: {error.desc()}" for error in errors)


def _say_nothing(phase: str, done: int, total: int) -> None:
    pass
