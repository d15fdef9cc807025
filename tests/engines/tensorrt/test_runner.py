"""The runner on simulated bindings that run the same ONNX: outputs, batches, graphs, streams, threads."""

from __future__ import annotations

import gc
import inspect
import statistics
import sys
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest

from fer_edge.engines.base import Artifact, Images, Prediction, Runner, RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.engines.tensorrt.api import Api, Product
from fer_edge.engines.tensorrt.cuda import CudaDevice
from fer_edge.engines.tensorrt.deserialized import DeserializedEngine
from fer_edge.engines.tensorrt.runner import GRAPH_BATCHES, TensorRTRunner
from fer_edge.errors import EngineError, InputError
from tests.bindings_double import api_double, plan
from tests.cuda_double import DoubleDevice, Gpu, device_double
from tests.idle_double import idle_runner
from tests.tiny import tiny_onnx

MODEL = tiny_onnx()
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 112, 112, 3), dtype=np.uint8)


def load(
    gpu: Gpu,
    max_batch: int = 4,
    *,
    model: bytes = MODEL,
    graphs: bool = True,
    product: Product = "tensorrt",
    api: Api | None = None,
    **header: Any,
) -> TensorRTRunner:
    artifact = Artifact(model, plan(model, max_batch, **header), max_batch)
    bindings = api or api_double(gpu, product)
    return TensorRTRunner(
        lambda: device_double(gpu),
        lambda: DeserializedEngine(bindings, artifact, RunOptions()),
        max_batch,
        graphs=graphs,
    )


def reference(max_batch: int, model: bytes = MODEL) -> Runner:
    return get_engine("onnxruntime").load(Artifact(model, None, max_batch), RunOptions(threads=1))


def assert_equal(prediction: Prediction, expected: Prediction) -> None:
    for name, value in expected._asdict().items():
        output = getattr(prediction, name)
        if value is None:
            assert output is None
        else:
            np.testing.assert_allclose(output, value, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("integrated", [False, True])
@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("optimal", [(1,), (1, 4)])
def test_every_batch_size_matches_onnx_runtime(integrated: bool, graphs: bool, optimal: tuple[int, ...]) -> None:
    gpu, largest = Gpu(integrated=integrated), GRAPH_BATCHES + 3
    with load(gpu, largest, graphs=graphs, optimal=optimal) as runner, reference(largest) as other:
        for batch in [*range(1, largest + 1), 1, largest, 2, largest - 1]:
            assert_equal(runner.infer(IMAGES[:batch]), other.infer(IMAGES[:batch]))
        assert ("launch" in gpu.calls) == graphs
        assert ("copy_in" in gpu.calls) != integrated
    assert gpu.live_objects() == {}


def test_model_without_text_head() -> None:
    model = tiny_onnx(text_head=False)
    with load(Gpu(), model=model) as runner, reference(4, model) as other:
        assert_equal(runner.infer(IMAGES[:3]), other.infer(IMAGES[:3]))


def test_results_belong_to_the_caller() -> None:
    with load(Gpu()) as runner:
        first = runner.infer(IMAGES[:2])
        copies = [None if value is None else value.copy() for value in first]
        runner.infer(IMAGES[2:4])
        for value, copy in zip(first, copies, strict=True):
            assert value is not None and copy is not None and np.array_equal(value, copy)


def test_images_in_the_input_buffer_are_not_copied() -> None:
    gpu = Gpu()
    with load(gpu) as runner, reference(4) as other:
        buffer = runner.input_buffer()
        assert buffer.shape == (4, 112, 112, 3)
        buffer[:3] = IMAGES[:3]
        assert_equal(runner.infer(buffer[:3]), other.infer(IMAGES[:3]))
        # The engine reads from the start of the buffer, so a later part is copied there.
        buffer[:4] = IMAGES[:4]
        assert_equal(runner.infer(buffer[1:3]), other.infer(IMAGES[1:3]))


def test_submit_and_collect() -> None:
    gpu = Gpu()
    with load(gpu) as runner, reference(4) as other:
        runner.input_buffer()[:2] = IMAGES[:2]
        runner.submit(2)
        for call in (lambda: runner.submit(1), lambda: runner.infer(IMAGES[:1])):
            with pytest.raises(EngineError, match="a batch is in flight; call collect first"):
                call()
        assert_equal(runner.collect(), other.infer(IMAGES[:2]))
        with pytest.raises(EngineError, match="no batch is in flight; call submit first"):
            runner.collect()
        with pytest.raises(InputError, match="a batch of 5 images; this engine takes 1 to 4"):
            runner.submit(5)


def test_close_with_a_batch_in_flight() -> None:
    gpu = Gpu()
    runner = load(gpu)
    runner.submit(2)
    runner.close()
    assert gpu.live_objects() == {}
    for call in (runner.collect, runner.input_buffer, lambda: runner.submit(1)):
        with pytest.raises(EngineError, match="the runner is closed; load the bundle again"):
            call()


def test_dropped_runner_is_closed() -> None:
    gpu = Gpu()
    load(gpu).infer(IMAGES[:1])
    assert gpu.live_objects() == {}


def put_images(gpu: Gpu, images: Images, stream: int) -> int:
    """Return the address of images on the GPU, which work in the app's stream has yet to write."""
    address = gpu.map_memory(np.zeros(images.nbytes, np.uint8), "the app's memory")
    gpu.enqueue(stream, lambda: np.copyto(gpu.memory_at(address, images.nbytes), images.ravel()))
    return address


def test_frames_in_gpu_memory_are_read_in_stream_order() -> None:
    gpu = Gpu()
    with load(gpu) as runner, reference(4) as other:
        stream = gpu.new_stream()
        address = put_images(gpu, IMAGES[:3], stream)
        runner.submit_from_device(address, 3, stream)
        # The app overwrites the frame at once; its stream delays that until the runner has read the first frame.
        gpu.enqueue(stream, lambda: np.copyto(gpu.memory_at(address, IMAGES[:3].nbytes), 0))
        gpu.streams[stream].run()
        assert_equal(runner.collect(), other.infer(IMAGES[:3]))


def test_outputs_are_in_gpu_memory_after_the_event() -> None:
    gpu = Gpu()
    with load(gpu) as runner, reference(4) as other:
        runner.input_buffer()[:2] = IMAGES[:2]
        runner.submit(2)
        event = gpu.events[runner.done_event]
        assert event.stream is not None
        event.stream.run(event.after)
        memory = gpu.memory_at(runner.output_addresses["probabilities"], 2 * 3 * 4)
        probabilities = memory.view(np.float32).reshape(2, 3)
        np.testing.assert_allclose(probabilities, other.infer(IMAGES[:2]).probabilities, atol=1e-6)
        runner.collect()


def test_threads_with_one_runner_each() -> None:
    gpu, failures = Gpu(), []
    api = api_double(gpu)  # shared, as in a real process

    def work(number: int) -> None:
        try:
            with load(gpu, graphs=bool(number % 2), api=api) as runner, reference(4) as other:
                for step in range(12):
                    batch = IMAGES[(number + step) % 12 :][: 1 + step % 4]
                    assert_equal(runner.infer(batch), other.infer(batch))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert gpu.live_objects() == {}


def test_runner_is_used_in_another_thread() -> None:
    gpu = Gpu()
    runner, predictions = load(gpu), []

    def work() -> None:
        predictions.append(runner.infer(IMAGES[:1]))
        runner.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    with reference(1) as other:
        assert_equal(predictions[0], other.infer(IMAGES[:1]))
    assert gpu.live_objects() == {}


def test_frames_do_not_leak_memory() -> None:
    gpu = Gpu()
    with load(gpu) as runner:
        buffer = runner.input_buffer()[:2]
        for _ in range(20):
            runner.infer(buffer)
        created, streams = dict(gpu.created), gpu.streams
        gc.collect()
        tracemalloc.start()
        start = tracemalloc.take_snapshot()
        for _ in range(1000):
            runner.infer(buffer)
            for stream in streams.values():  # the simulated stream keeps a list of finished work
                stream.work.clear()
                stream.done = 0
            gpu.calls.clear()
        gc.collect()
        growth = tracemalloc.take_snapshot().compare_to(start, "filename")
        tracemalloc.stop()
        assert dict(gpu.created) == created
        own = [entry for entry in growth if "fer_edge" in entry.traceback[0].filename]
        assert sum(entry.count_diff for entry in own) < 20, own


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("in_place", [False, True])
def test_frame_allocates_only_its_outputs(graphs: bool, in_place: bool) -> None:
    with idle_runner(4, graphs=graphs) as runner:
        images = runner.input_buffer()[:2] if in_place else IMAGES[:2]
        outputs = sum(sys.getsizeof(value) for value in runner.infer(images) if value is not None)
        tracemalloc.start()
        peaks = []
        for _ in range(1000):
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            runner.infer(images)
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
        tracemalloc.stop()
    peak = statistics.median(peaks)  # of a few frames, threads of other tests allocate too
    # 1 KiB for views, tuples and small objects of the test's device. A copy of one image would be 37 kB.
    assert peak < outputs + 1024, f"peak of {peak} bytes; the outputs are {outputs}"


def test_time_on_device_with_and_without_graph() -> None:
    with load(Gpu(), GRAPH_BATCHES + 1) as runner:
        for graph in (True, False):
            timing = runner.time_on_device(2, 5, graph=graph)
            assert timing is not None
            assert [part.tolist() for part in timing] == [[2.0] * 5] * 3  # the simulated clock counts finished work
        assert runner.time_on_device(GRAPH_BATCHES + 1, 1) is None
        assert runner.time_on_device(GRAPH_BATCHES + 1, 1, graph=False) is not None


def test_timed_run_is_queued_behind_an_untimed_run() -> None:
    gpu = Gpu()
    with load(gpu) as runner, reference(4) as other:
        runner.input_buffer()[:2] = IMAGES[:2]
        gpu.calls.clear()
        runner.time_on_device(2, 3)
        event = "record_event"
        timed = [event, "copy_in", event, "launch", event, "copy_out", event]
        calls = ["copy_in", "launch", "copy_out", *timed, "synchronize", *["milliseconds"] * 3]
        assert gpu.calls == ["enter", *calls * 3, "leave"]
        assert_equal(runner.infer(runner.input_buffer()[:2]), other.infer(IMAGES[:2]))


def test_engine_without_weights_is_refitted_from_the_model() -> None:
    with load(Gpu(), stripped=True) as runner, reference(4) as other:
        assert_equal(runner.infer(IMAGES[:2]), other.infer(IMAGES[:2]))


def test_simulated_device_has_the_real_interface() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        names = [name for name in vars(kind) if not name.startswith("_") or name in ("__enter__", "__exit__")]
        return {name: [*inspect.signature(vars(kind)[name]).parameters] for name in names}

    real = methods(CudaDevice)
    assert {name: parameters for name, parameters in methods(DoubleDevice).items() if name in real} == {
        name: parameters for name, parameters in real.items() if name != "code_of"
    }
