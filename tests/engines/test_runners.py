"""Runners of OpenVINO and ONNX Runtime."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest

from fer_edge.choices import EngineName
from fer_edge.engines.base import Artifact, BuildRequest, Runner, RunOptions
from fer_edge.engines.onnxruntime import ONNXRuntimeRunner
from fer_edge.engines.openvino.core import PROCESS, core
from fer_edge.engines.openvino.engine import ENGINE as OPENVINO
from fer_edge.engines.registry import ENGINE_MODULES, engine_status, get_engine
from fer_edge.errors import ConfigError, EngineError, EngineUnavailableError, InputError, UnsupportedTargetError
from fer_edge.evaluation.parity import relative_error
from tests.tiny import tiny_onnx

ENGINES = ["openvino", "onnxruntime"]
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)


def load(engine: str, **changes: Any) -> Runner:
    return get_engine(engine).load(Artifact(tiny_onnx(**changes), None, 4), RunOptions(threads=1))


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_agree_and_outputs_are_not_overwritten(engine: str) -> None:
    with load(engine) as runner, load("onnxruntime") as other:
        first = runner.infer(IMAGES[:1])
        copied = first.probabilities.copy()
        assert relative_error(runner.infer(IMAGES).label_logits, other.infer(IMAGES).label_logits) < 1e-5
        runner.infer(IMAGES[1:2])
        assert np.array_equal(first.probabilities, copied)
        np.testing.assert_allclose(copied.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_model_without_text_head_gives_no_text_logits(engine: str) -> None:
    with load(engine, text_head=False) as runner:
        assert runner.infer(IMAGES[:1]).text_logits is None


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES.astype(np.float32), "images are float32; expected a numpy array of uint8"),
        ([1], "images are list"),
        (IMAGES[0], r"shape \(112, 112, 3\); expected \(N, 112, 112, 3\)"),
        (IMAGES[:, :, :, :1], "expected"),
        (IMAGES[:0], "a batch of 0 images; this engine takes 1 to 4"),
        (np.repeat(IMAGES, 2, axis=0), "a batch of 6 images"),
    ],
)
def test_wrong_input_is_refused(images: Any, message: str) -> None:
    with load("onnxruntime") as runner, pytest.raises(InputError, match=message):
        runner.infer(images)


@pytest.mark.parametrize("engine", ENGINES)
def test_closed_runner_refuses_calls(engine: str) -> None:
    runner = load(engine)
    assert repr(runner).endswith(f"Runner(engine='{engine}', max_batch=4, closed=False)")
    runner.close()
    runner.close()
    with pytest.raises(EngineError, match="the runner is closed"):
        runner.infer(IMAGES)
    assert repr(runner).endswith("closed=True)")


def test_reprs_are_short() -> None:
    assert repr(OPENVINO) == "OpenVINOEngine(name='openvino')"
    assert repr(Artifact(tiny_onnx(), None, 4)) == "Artifact(max_batch=4)"


@pytest.mark.parametrize("engine", ENGINES)
def test_invalid_model_is_refused(engine: str) -> None:
    with pytest.raises(EngineError, match="refused the model"):
        get_engine(engine).build(b"no model", BuildRequest())


@pytest.mark.parametrize("engine", ENGINES)
def test_cpu_engine_refuses_gpu_target(engine: str) -> None:
    with pytest.raises(UnsupportedTargetError, match="builds for cpu; got sm89"):
        get_engine(engine).build(tiny_onnx(), BuildRequest(targets=("sm89",)))


def test_missing_engine_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineUnavailableError, match=r'pip install "fer-edge\[onnxruntime\]"'):
        get_engine("onnxruntime").version()
    assert not engine_status("onnxruntime").can_run


def test_choices_list_every_engine() -> None:
    assert set(get_args(EngineName)) == set(ENGINE_MODULES)


def test_unknown_engine_is_refused() -> None:
    with pytest.raises(ConfigError, match="no engine 'caffe'; expected one of: openvino, onnxruntime, tensorrt, "):
        get_engine("caffe")


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("openvin", "openvino"),
        ("OpenVINO", "openvino"),
        ("onnx-runtime", "onnxruntime"),
        ("tensorrt_rtx", "tensorrt-rtx"),
    ],
)
def test_misspelt_engine_gets_a_suggestion(name: str, suggestion: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"no engine '{name}'; expected one of: .*tensorrt-rtx; did you mean {suggestion}\?$"
    ):
        get_engine(name)


def test_runners_with_few_threads_are_not_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    network = OPENVINO.network_for_one(tiny_onnx())
    default = core().compile_model(network, "CPU", {"INFERENCE_NUM_THREADS": 1}).get_property("ENABLE_CPU_PINNING")
    monkeypatch.setattr("fer_edge.engines.openvino.engine.processors", lambda: 1)
    # A runner for all cores keeps OpenVINO's default.
    all_cores = OPENVINO.compile_network(network, RunOptions(threads=1))
    assert all_cores.get_property("ENABLE_CPU_PINNING") is default
    monkeypatch.setattr("fer_edge.engines.openvino.engine.processors", lambda: 2)
    compiled = OPENVINO.compile_network(network, RunOptions(threads=1))
    assert compiled.get_property("ENABLE_CPU_PINNING") is False
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1


def test_default_threads_are_not_pinned() -> None:
    compiled = OPENVINO.compile_network(OPENVINO.network_for_one(tiny_onnx()), RunOptions())
    assert compiled.get_property("ENABLE_CPU_PINNING") is False


@pytest.mark.parametrize("engine", ENGINES)
def test_default_threads_respect_the_cpu_quota(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if engine == "openvino":
        monkeypatch.setattr("fer_edge.engines.threads.default_threads", lambda *, respects_affinity: 1)
        compiled = OPENVINO.compile_network(OPENVINO.network_for_one(tiny_onnx()), RunOptions())
        threads = compiled.get_property("INFERENCE_NUM_THREADS")
    else:
        monkeypatch.setattr("fer_edge.engines.threads.default_threads", lambda *, respects_affinity: 1)
        with get_engine(engine).load(Artifact(tiny_onnx(), None, 4), RunOptions()) as runner:
            assert isinstance(runner, ONNXRuntimeRunner)
            threads = runner._session.get_session_options().intra_op_num_threads
    assert threads == 1


def test_ctrl_c_after_closing_two_runners_does_not_crash() -> None:
    script = """
import signal
from tests.engines.test_runners import load
first, second = load("openvino"), load("openvino")
first.close()
second.close()
try:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
    process = run_script(script)
    assert (process.returncode, process.stdout) == (0, "interrupted\n"), process.stderr


def run_script(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)


def test_threads_that_open_simultaneously_share_one_core() -> None:
    script = """
import sys, threading, time
import fer_edge.engines.openvino.core as module
from fer_edge.engines.registry import get_engine

sys.setswitchinterval(1e-6)
count, cores, errors = 8, [], []
barrier = threading.Barrier(count)

def open_core():
    barrier.wait()
    try:
        cores.append(id(module.core()))
    except BaseException as error:
        errors.append(repr(error))

threads = [threading.Thread(target=open_core) for _ in range(count)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(set(cores)), len(cores), errors, "openvino.tools.ovc" in sys.modules)
"""
    process = run_script(script)
    assert (process.returncode, process.stdout) == (0, "1 8 [] False\n"), process.stderr


FORKED = """
import os, signal, sys
from fer_edge.errors import EngineError
from tests.engines.test_runners import IMAGES, load

def use(function):
    try:
        function()
    except EngineError as error:
        return str(error)
    return "used"

def in_fork(function):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(30)  # ends a child that hangs
        os.write(write, use(function).encode())
        os._exit(0)
    os.close(write)
    output = os.read(read, 1000).decode()
    status = os.waitpid(child, 0)[1]
    return output or f"ended with status {status}"
"""
REFUSED = (
    "OpenVINO was started before this process was forked; start processes with multiprocessing's 'spawn' or "
    "'forkserver', or open the first recognizer after the fork"
)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@needs_fork
def test_openvino_refuses_to_start_after_a_late_fork() -> None:
    script = """
load("openvino").close()
print(in_fork(lambda: load("openvino")))

def fork_again():
    raise EngineError(in_fork(lambda: load("openvino")))

print(in_fork(fork_again))
print(use(lambda: load("openvino")))
"""
    process = run_script(FORKED + script)
    assert process.stdout.splitlines() == [REFUSED, REFUSED, "used"], process.stderr


@needs_fork
def test_runner_opened_before_a_fork_runs_but_compiles_nothing() -> None:
    script = """
runner, ready = load("openvino"), load("openvino")
ready.infer(IMAGES)
load("openvino").close()
for images in (IMAGES[:1], IMAGES):
    expected = ready.infer(images).probabilities

    def check(of):
        if not (of.infer(images).probabilities == expected).all():
            raise EngineError("other values")

    print(in_fork(lambda: check(runner)), in_fork(lambda: check(ready)), sep=", ")
print(in_fork(lambda: runner.close() or ready.close()))
"""
    process = run_script(FORKED + script)
    assert process.stdout.splitlines() == ["used, used", f"{REFUSED}, used", "used"], process.stderr


@needs_fork
@pytest.mark.parametrize("last", ["runner.close()", "runner.infer(IMAGES)"])
def test_forked_process_exits(last: str) -> None:
    script = f"""
runner = load("openvino")
{last}
child = os.fork()
if not child:
    signal.alarm(30)
    sys.exit(0)
print(os.waitpid(child, 0)[1])
"""
    process = run_script(FORKED + script)
    assert process.stdout == "0\n", process.stderr


@needs_fork
def test_process_forked_before_the_start_may_start_openvino() -> None:
    script = """
from fer_edge.engines.openvino.core import openvino

openvino()

def work():
    with load("openvino") as runner:
        runner.infer(IMAGES)

print(in_fork(work))
print(use(work))
"""
    process = run_script(FORKED + script)
    assert process.stdout.splitlines() == ["used", "used"], process.stderr


def changed(change: Callable[[Any], None]) -> Artifact:
    """Return the tiny model after a change to its graph."""
    model = onnx.load_from_string(tiny_onnx())
    change(model.graph)
    return Artifact(model.SerializeToString(), None, 4)


def without(*names: str) -> Callable[[Any], None]:
    def change(graph: Any) -> None:
        outputs = [output for output in graph.output if output.name not in names]
        del graph.output[:]
        graph.output.extend(outputs)

    return change


def with_wider_text(graph: Any) -> None:
    for weight in graph.initializer:
        if weight.name == "text_weight":
            weight.CopyFrom(onnx.numpy_helper.from_array(np.ones((3, 4), np.float32), weight.name))
    graph.output[1].type.tensor_type.shape.dim[1].dim_value = 4


def with_flat_labels(graph: Any) -> None:
    shape = onnx.numpy_helper.from_array(np.array([-1], np.int64), "flat")
    graph.initializer.append(shape)
    graph.node.append(onnx.helper.make_node("Reshape", ["label_logits", "flat"], ["flattened"], name="flattened"))
    graph.node[3].output[0], graph.node[-1].output[0] = "inner", "label_logits"
    graph.node[-1].input[0] = "inner"
    graph.node[-2].input[0] = "inner"
    del graph.output[0].type.tensor_type.shape.dim[1:]
    graph.output[0].type.tensor_type.shape.dim[0].dim_param = "M"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("label_logits"), "the model has outputs text_logits, probabilities; expected label_logits, prob"),
        (without("probabilities"), "the model has outputs label_logits, text_logits; expected label_logits, prob"),
        (
            with_wider_text,
            r"outputs are label_logits .*3\), text_logits .*4\), probabilities .*the same \(N, classes\) for all",
        ),
        (with_flat_labels, r"outputs are label_logits \(.*,\), text_logits .*; expected the same \(N, classes\)"),
    ],
    ids=["no labels", "no probabilities", "wider text", "flat labels"],
)
def test_model_with_wrong_outputs_is_refused_on_loading(
    engine: str, change: Callable[[Any], None], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        get_engine(engine).load(changed(change), RunOptions(threads=1))


def rename_input(graph: Any) -> None:
    graph.input[0].name = graph.node[0].input[0] = "pixels"


def test_model_with_wrong_input_is_refused_by_openvino() -> None:
    with pytest.raises(EngineError, match="OpenVINO refused the model"):
        OPENVINO.load(changed(rename_input), RunOptions(threads=1))


def test_failing_engine_raises_an_engine_error() -> None:
    with (
        get_engine("onnxruntime").load(changed(rename_input), RunOptions(threads=1)) as runner,
        pytest.raises(EngineError, match=r"ONNX Runtime failed on a batch of 3: .*images"),
    ):
        runner.infer(IMAGES)
    with pytest.raises(EngineError, match=r"ONNX Runtime could not run the model: .*images"):
        get_engine("onnxruntime").build(changed(rename_input).model, BuildRequest())


def test_unwritable_temporary_folder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(EngineError, match=r"profile cannot be written to a temporary folder: .*; set TMPDIR to a"):
        get_engine("onnxruntime").build(tiny_onnx(), BuildRequest())


def test_openvino_is_not_started_where_it_would_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer_edge.engines.openvino.core.PROCESSOR_FILES", ("/proc/none", "/sys/none"))
    monkeypatch.setattr("fer_edge.engines.openvino.core.PROCESS", type(PROCESS)())
    with pytest.raises(
        EngineUnavailableError, match="neither /proc/cpuinfo nor /sys/devices/system/cpu can be read; mount"
    ):
        core()
    assert "neither /proc/cpuinfo" in engine_status("openvino").reason


def test_onnxruntime_is_not_imported_where_it_would_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "cpuinfo"
    empty.touch()
    monkeypatch.delitem(sys.modules, "onnxruntime")
    monkeypatch.setattr("fer_edge.hardware.cpu.CPUINFO", empty)
    monkeypatch.setattr("fer_edge.engines.onnxruntime.CPUINFO", empty)
    monkeypatch.setattr("fer_edge.engines.onnxruntime.PROCESSORS", tmp_path / "gone")
    monkeypatch.setattr("fer_edge.engines.onnxruntime.import_package", lambda name: "imported")
    with pytest.raises(EngineUnavailableError, match="ONNX Runtime cannot count the processors: /proc/cpuinfo"):
        get_engine("onnxruntime").version()


def test_failed_start_makes_openvino_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    class Package:
        @staticmethod
        def Core() -> Any:
            raise RuntimeError("Exception from src/a.cpp:1:\nResource temporarily unavailable")

    monkeypatch.setattr("fer_edge.engines.openvino.core.PROCESS", type(PROCESS)())
    monkeypatch.setattr("fer_edge.engines.openvino.core.openvino", lambda: Package)
    with pytest.raises(EngineUnavailableError, match="OpenVINO does not start: the operating system refused"):
        core()
