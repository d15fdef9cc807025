"""The runner on a double of the driver that runs the same ONNX: values, batches, graphs, streams, threads."""

from __future__ import annotations

import gc
import sys
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest

from fer_edge.engines.base import Artifact, Images, Prediction, Runner, RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.engines.tensorrt.api import Api, Product
from fer_edge.engines.tensorrt.deserialized import LoadedEngine
from fer_edge.engines.tensorrt.runner import GRAPH_BATCHES, TensorRTRunner
from fer_edge.errors import EngineError, InputError
from tests.bindings_double import api_double, plan
from tests.cuda_double import DoubleDevice, Gpu
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
    **says: Any,
) -> TensorRTRunner:
    artifact = Artifact(model, plan(model, max_batch, **says), max_batch)
    bindings = api or api_double(gpu, product)
    return TensorRTRunner(
        lambda: DoubleDevice(gpu), lambda: LoadedEngine(bindings, artifact, RunOptions()), max_batch, graphs=graphs
    )


def reference(max_batch: int, model: bytes = MODEL) -> Runner:
    return get_engine("onnxruntime").load(Artifact(model, None, max_batch), RunOptions(threads=1))


def assert_equal(found: Prediction, expected: Prediction) -> None:
    for name, value in expected._asdict().items():
        got = getattr(found, name)
        if value is None:
            assert got is None
        else:
            np.testing.assert_allclose(got, value, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("integrated", [False, True])
@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("optimal", [(1,), (1, 4)])
def test_every_batch_size_gives_what_onnx_runtime_gives(
    integrated: bool, graphs: bool, optimal: tuple[int, ...]
) -> None:
    gpu, most = Gpu(integrated=integrated), GRAPH_BATCHES + 3
    with load(gpu, most, graphs=graphs, optimal=optimal) as runner, reference(most) as other:
        for batch in [*range(1, most + 1), 1, most, 2, most - 1]:
            assert_equal(runner.infer(IMAGES[:batch]), other.infer(IMAGES[:batch]))
        assert ("launch" in gpu.calls) == graphs
        assert ("copy_in" in gpu.calls) != integrated
    assert gpu.ledger() == {}


def test_a_model_without_text_head_gives_none() -> None:
    model = tiny_onnx(text_head=False)
    with load(Gpu(), model=model) as runner, reference(4, model) as other:
        assert_equal(runner.infer(IMAGES[:3]), other.infer(IMAGES[:3]))


def test_results_belong_to_the_caller() -> None:
    with load(Gpu()) as runner:
        first = runner.infer(IMAGES[:2])
        kept = [None if value is None else value.copy() for value in first]
        runner.infer(IMAGES[2:4])
        for value, copy in zip(first, kept, strict=True):
            assert value is not None and copy is not None and np.array_equal(value, copy)


def test_images_in_the_input_buffer_are_run_in_place() -> None:
    gpu = Gpu()
    with load(gpu) as runner, reference(4) as other:
        buffer = runner.input_buffer()
        assert buffer.shape == (4, 112, 112, 3)
        buffer[:3] = IMAGES[:3]
        assert_equal(runner.infer(buffer[:3]), other.infer(IMAGES[:3]))
        # A later part of the buffer is not where the engine reads: it is moved there.
        buffer[:4] = IMAGES[:4]
        assert_equal(runner.infer(buffer[1:3]), other.infer(IMAGES[1:3]))


def test_a_submitted_batch_is_collected() -> None:
    gpu = Gpu()
    with load(gpu) as runner, reference(4) as other:
        runner.input_buffer()[:2] = IMAGES[:2]
        runner.submit(2)
        for again in (lambda: runner.submit(1), lambda: runner.infer(IMAGES[:1])):
            with pytest.raises(EngineError, match="a batch is in flight; call collect first"):
                again()
        assert_equal(runner.collect(), other.infer(IMAGES[:2]))
        with pytest.raises(EngineError, match="no batch is in flight; call submit first"):
            runner.collect()
        with pytest.raises(InputError, match="a batch of 5 images; this engine takes 1 to 4"):
            runner.submit(5)


def test_a_runner_closes_with_a_batch_in_flight() -> None:
    gpu = Gpu()
    runner = load(gpu)
    runner.submit(2)
    runner.close()
    assert gpu.ledger() == {}
    for late in (runner.collect, runner.input_buffer, lambda: runner.submit(1)):
        with pytest.raises(EngineError, match="the runner is closed; load the bundle again"):
            late()


def test_a_forgotten_runner_is_closed() -> None:
    gpu = Gpu()
    load(gpu).infer(IMAGES[:1])
    assert gpu.ledger() == {}


def put_images(gpu: Gpu, images: Images, stream: int) -> int:
    """Images on the GPU as an app has them: written by work that is still waiting in its stream."""
    address = gpu.own(np.zeros(images.nbytes, np.uint8), "the app's memory")
    gpu.put(stream, lambda: np.copyto(gpu.at(address, images.nbytes), images.ravel()))
    return address


def test_frames_on_the_gpu_are_read_in_stream_order() -> None:
    gpu = Gpu()
    with load(gpu) as runner, reference(4) as other:
        stream = gpu.stream()
        address = put_images(gpu, IMAGES[:3], stream)
        runner.submit_from_device(address, 3, stream)
        # The app's next frame goes to the same place at once; its stream holds it back until the first was read.
        gpu.put(stream, lambda: np.copyto(gpu.at(address, IMAGES[:3].nbytes), 0))
        gpu.streams[stream].run()
        assert_equal(runner.collect(), other.infer(IMAGES[:3]))


def test_outputs_are_on_the_gpu_once_the_event_is_reached() -> None:
    gpu = Gpu()
    with load(gpu) as runner, reference(4) as other:
        runner.input_buffer()[:2] = IMAGES[:2]
        runner.submit(2)
        event = gpu.events[runner.done_event]
        assert event.stream is not None
        event.stream.run(event.after)
        found = gpu.at(runner.output_addresses["probabilities"], 2 * 3 * 4).view(np.float32).reshape(2, 3)
        np.testing.assert_allclose(found, other.infer(IMAGES[:2]).probabilities, atol=1e-6)
        runner.collect()


def test_threads_have_a_runner_each() -> None:
    gpu, failures = Gpu(), []
    api = api_double(gpu)  # one for all, as in a process

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
    assert gpu.ledger() == {}


def test_a_runner_loaded_in_one_thread_runs_and_closes_in_another() -> None:
    gpu = Gpu()
    runner, found = load(gpu), []

    def work() -> None:
        found.append(runner.infer(IMAGES[:1]))
        runner.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    with reference(1) as other:
        assert_equal(found[0], other.infer(IMAGES[:1]))
    assert gpu.ledger() == {}


def test_nothing_is_kept_of_a_frame() -> None:
    gpu = Gpu()
    with load(gpu) as runner:
        buffer = runner.input_buffer()[:2]
        for _ in range(20):
            runner.infer(buffer)
        before, streams = dict(gpu.allocated), gpu.streams
        gc.collect()
        tracemalloc.start()
        start = tracemalloc.take_snapshot()
        for _ in range(1000):
            runner.infer(buffer)
            for stream in streams.values():  # the double's own record of what ran
                stream.work.clear()
                stream.done = 0
            gpu.calls.clear()
        gc.collect()
        grown = tracemalloc.take_snapshot().compare_to(start, "filename")
        tracemalloc.stop()
        assert dict(gpu.allocated) == before
        ours = [entry for entry in grown if "fer_edge" in entry.traceback[0].filename]
        assert sum(entry.count_diff for entry in ours) < 20, ours


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("in_place", [False, True])
def test_a_frame_allocates_its_results_and_no_more(graphs: bool, in_place: bool) -> None:
    with idle_runner(4, graphs=graphs) as runner:
        images = runner.input_buffer()[:2] if in_place else IMAGES[:2]
        results = sum(sys.getsizeof(value) for value in runner.infer(images) if value is not None)
        tracemalloc.start()
        most = 0
        for _ in range(1000):
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            runner.infer(images)
            most = max(most, tracemalloc.get_traced_memory()[1] - before)
        tracemalloc.stop()
    # Views and tuples; the double has its own small objects. A copy of one image alone would be 37 kB.
    assert most < results + 1024, f"{most} bytes at once; the results are {results}"


def test_time_on_the_device_is_told_with_and_without_graph() -> None:
    with load(Gpu(), GRAPH_BATCHES + 1) as runner:
        for graph in (True, False):
            timing = runner.time_on_device(2, 5, graph=graph)
            assert timing is not None
            assert [part.tolist() for part in timing] == [[2.0] * 5] * 3  # the double's clock counts work done
        assert runner.time_on_device(GRAPH_BATCHES + 1, 1) is None
        assert runner.time_on_device(GRAPH_BATCHES + 1, 1, graph=False) is not None


def test_what_is_timed_waits_behind_a_run_that_is_not() -> None:
    gpu = Gpu()
    with load(gpu) as runner, reference(4) as other:
        runner.input_buffer()[:2] = IMAGES[:2]
        gpu.calls.clear()
        runner.time_on_device(2, 3)
        marked = ["mark", "copy_in", "mark", "launch", "mark", "copy_out", "mark"]
        once = ["copy_in", "launch", "copy_out", *marked, "synchronize", *["milliseconds"] * 3]
        assert gpu.calls == ["enter", *once * 3, "leave"]
        assert_equal(runner.infer(runner.input_buffer()[:2]), other.infer(IMAGES[:2]))


def test_an_engine_without_weights_takes_those_of_the_model() -> None:
    with load(Gpu(), stripped=True) as runner, reference(4) as other:
        assert_equal(runner.infer(IMAGES[:2]), other.infer(IMAGES[:2]))
