"""Real engines on a real GPU. Checked against the types of the bindings; see docs/verified-on.md for runs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.engines.base import Artifact, BuildRequest, BuiltEngine, Precision, Runner, RunOptions
from fer_edge.engines.registry import engine_status, get_engine
from fer_edge.engines.tensorrt.cuda import CudaDevice
from fer_edge.engines.tensorrt.inspector import operators_of_layers
from fer_edge.engines.tensorrt.runner import GRAPH_BATCHES, TensorRTRunner
from fer_edge.errors import BundleMismatchError, EngineError, UnsupportedTargetError
from fer_edge.evaluation.parity import GATES, relative_error
from fer_edge.export.build import typed_graph
from fer_edge.graph.precision import prove_precision
from fer_edge.graph.ranges import read_ranges
from fer_edge.graph.typed_graph import TypedGraph
from fer_edge.hardware.gpu_state import GpuSampler
from fer_edge.model.checkpoint import load_checkpoint
from tests.gpu.conftest import PRODUCTS
from tests.shipped import checkpoint_file, ranges_file
from tests.synthetic import smooth_frame

if "FER_EDGE_GPU_REPORT" not in os.environ and not any(engine_status(name).can_run for name in PRODUCTS):
    pytest.skip(
        "; ".join(f"{name}: {engine_status(name).reason}" for name in PRODUCTS),
        allow_module_level=True,
    )

LARGEST = GRAPH_BATCHES + 4
FRAMES = np.stack([smooth_frame(seed) for seed in range(LARGEST)])
Record = Callable[[str, Any], None]


@pytest.fixture(scope="module")
def models() -> dict[str, bytes]:
    """Typed graphs of the shipped model, by precision."""
    checkpoint, ranges = load_checkpoint(checkpoint_file("edge")), read_ranges(ranges_file("edge"))
    return {
        "fp32": typed_graph(checkpoint, "fp32").to_bytes(),
        "fp16": typed_graph(checkpoint, "fp16", ranges).to_bytes(),
        "int8": typed_graph(checkpoint, "int8", ranges, "fp16").to_bytes(),
    }


def build(product: str, model: bytes, precision: Precision = "fp32", **options: Any) -> BuiltEngine:
    engine = get_engine(product)
    return engine.build(model, BuildRequest(precision, (engine.local_target(),), LARGEST, options))


@contextmanager
def running(product: str, model: bytes, built: BuiltEngine, folder: Path, **options: Any) -> Iterator[TensorRTRunner]:
    artifact = Artifact(model, built.file, LARGEST)
    runner = get_engine(product).load(artifact, RunOptions(cache=folder, **options))
    assert isinstance(runner, TensorRTRunner)
    with runner:
        yield runner


def reference(model: bytes) -> Runner:
    return get_engine("onnxruntime").load(Artifact(model, None, LARGEST), RunOptions())


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("graphs", [True, False])
def test_every_batch_size_matches_onnx_runtime(
    product: str, precision: Precision, graphs: bool, models: dict[str, bytes], tmp_path: Path, record: Record
) -> None:
    built, worst = build(product, models[precision], precision), 0.0
    with (
        running(product, models[precision], built, tmp_path, graphs=graphs) as runner,
        reference(models["fp32"]) as other,
    ):
        for batch in range(1, LARGEST + 1):
            prediction, expected = runner.infer(FRAMES[:batch]), other.infer(FRAMES[:batch])
            worst = max(worst, relative_error(prediction.label_logits, expected.label_logits))
    record("largest relative logit error", worst)
    record("engine bytes", len(built.file or b""))
    assert worst <= GATES[precision].tolerance


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_time_on_device(
    product: str, precision: Precision, models: dict[str, bytes], tmp_path: Path, record: Record
) -> None:
    built = build(product, models[precision], precision)
    with running(product, models[precision], built, tmp_path) as runner, GpuSampler() as sampler:
        for graph in (True, False):
            runner.time_on_device(1, 200, graph=graph)
            timing = runner.time_on_device(1, 1000, graph=graph)
            assert timing is not None, "no CUDA graph was captured"
            total = timing.copy_in + timing.compute + timing.copy_out
            for name, part in {**timing._asdict(), "total": total}.items():
                percentiles = dict(
                    zip(("p50", "p90", "p95", "p99"), np.percentile(part, (50, 90, 95, 99)), strict=True)
                )
                record(f"{name} ms, graph {graph}", percentiles)
    record("gpu", asdict(sampler.state) if sampler.state else sampler.reason)


def test_frames_in_gpu_memory(product: str, models: dict[str, bytes], tmp_path: Path) -> None:
    model = models["fp32"]
    app = CudaDevice()
    with running(product, model, build(product, model), tmp_path) as runner, reference(model) as other, app:
        frame = app.page_locked(FRAMES[:3].nbytes)
        frame[:] = FRAMES[:3].ravel()
        address = app.allocate(frame.nbytes)
        for _ in range(100):
            app.copy_in(address, frame)
            runner.submit_from_device(address, 3, app.stream)
            app.copy_in(address, app.page_locked(frame.nbytes))
            logits, expected = runner.collect().label_logits, other.infer(FRAMES[:3]).label_logits
            assert relative_error(logits, expected) <= GATES["fp32"].tolerance
    del frame
    app.close()


def test_threads_with_one_runner_each(product: str, models: dict[str, bytes], tmp_path: Path) -> None:
    model, failures = models["fp32"], []
    built = build(product, model)
    with reference(model) as other:
        expected = [other.infer(FRAMES[number : number + 2]).label_logits for number in range(4)]

    def work(number: int) -> None:
        try:
            with running(product, model, built, tmp_path) as runner:
                for _ in range(200):
                    logits = runner.infer(FRAMES[number : number + 2]).label_logits
                    assert relative_error(logits, expected[number]) <= GATES["fp32"].tolerance
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


def test_close_frees_gpu_memory(product: str, models: dict[str, bytes], tmp_path: Path, record: Record) -> None:
    from pycuda import driver

    model, free = models["fp32"], []
    built = build(product, model)
    with closing(CudaDevice()) as device:  # keeps the context alive, whose memory is not measured
        for _ in range(5):
            with running(product, model, built, tmp_path) as runner:
                runner.infer(FRAMES[:1])
            with device:
                free.append(driver.mem_get_info()[0])
    record("free bytes after closing", free)
    assert free[-1] >= free[1] - (8 << 20)


def test_engine_without_weights(product: str, models: dict[str, bytes], tmp_path: Path, record: Record) -> None:
    model = models["fp32"]
    whole, stripped = build(product, model), build(product, model, weights="stripped")
    assert whole.file is not None and stripped.file is not None
    record("bytes with and without weights", [len(whole.file), len(stripped.file)])
    with running(product, model, stripped, tmp_path) as runner, reference(model) as other:
        prediction, expected = runner.infer(FRAMES[:2]), other.infer(FRAMES[:2])
        assert relative_error(prediction.label_logits, expected.label_logits) <= GATES["fp32"].tolerance


@pytest.mark.parametrize(
    "options",
    [
        {"optimization_level": 1},
        {"optimal_batches": [1, 8]},
        {"workspace_mb": 256},
        {"aux_streams": 0},
        {"tf32": True},
        {"version_compatible": True},
        {"hardware_compatible": "ampere-plus"},
        {"hardware_compatible": "same-compute-capability"},
    ],
    ids=lambda options: "-".join(options),
)
def test_builder_options(product: str, options: dict[str, Any], models: dict[str, bytes], tmp_path: Path) -> None:
    model = models["fp32"]
    try:
        built = build(product, model, **options)
    except UnsupportedTargetError as error:
        pytest.skip(str(error))
    host_code = bool(options.get("version_compatible"))
    with running(product, model, built, tmp_path, allow_host_code=host_code) as runner, reference(model) as other:
        tolerance = 1e-2 if options.get("tf32") else GATES["fp32"].tolerance
        prediction, expected = runner.infer(FRAMES[:9]), other.infer(FRAMES[:9])
        assert relative_error(prediction.label_logits, expected.label_logits) <= tolerance


def test_host_code_is_refused_by_default(product: str, models: dict[str, bytes], tmp_path: Path) -> None:
    try:
        built = build(product, models["fp32"], version_compatible=True)
    except UnsupportedTargetError as error:
        pytest.skip(str(error))
    with (
        pytest.raises(EngineError, match="allow it with --allow-host-code, in Python with"),
        running(product, models["fp32"], built, tmp_path),
    ):
        pass


def test_timings_and_kernels_are_cached(product: str, models: dict[str, bytes], tmp_path: Path) -> None:
    if product == "tensorrt":
        build(product, models["fp32"], timing_cache=str(tmp_path))
    else:
        with running(product, models["fp32"], build(product, models["fp32"]), tmp_path):
            pass
    (cache,) = tmp_path.glob("*.cache")
    size = cache.stat().st_size
    assert size
    if product == "tensorrt":
        build(product, models["fp32"], timing_cache=str(tmp_path))
    else:
        with running(product, models["fp32"], build(product, models["fp32"]), tmp_path):
            pass
    assert cache.stat().st_size >= size


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_layers_are_inspected(product: str, precision: Precision, models: dict[str, bytes], record: Record) -> None:
    built = build(product, models[precision], precision)
    if built.layers is None:
        pytest.skip(f"{product} cannot load an engine on this machine to inspect it")
    record("layers", built.layers[:20_000])
    operators = operators_of_layers(built.layers)
    kinds = {(operator.kind, operator.precision, operator.multiplies) for operator in operators}
    record("operators", sorted(kinds))
    proof = prove_precision(TypedGraph.parse(models[precision]), built.operators)
    record("proof", asdict(proof))
    assert proof.fallbacks == ()
    if product == "tensorrt":
        assert any(operator.multiplies and operator.precision == precision for operator in operators)


def test_damaged_engine_is_explained(product: str, models: dict[str, bytes], tmp_path: Path) -> None:
    built = BuiltEngine(("sm89",), "0", b"no engine" * 100)
    with (
        pytest.raises((EngineError, BundleMismatchError), match="does not load the engine"),
        running(product, models["fp32"], built, tmp_path),
    ):
        pass
    with running(product, models["fp32"], build(product, models["fp32"]), tmp_path) as runner:
        runner.infer(FRAMES[:1])  # the process is still usable
