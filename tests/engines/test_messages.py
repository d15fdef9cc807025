"""Errors of native engines as one line with cause and next step."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.engines.base import Artifact, RunOptions
from fer_edge.engines.messages import COMPILE, LOAD, engine_error, unavailable
from fer_edge.engines.registry import get_engine
from fer_edge.engines.tensorrt import api
from fer_edge.engines.tensorrt.api import find_api
from fer_edge.errors import BundleMismatchError, EngineError, EngineUnavailableError, UnsupportedTargetError
from tests.tiny import tiny_onnx

IN_OPENVINO = (
    "Exception from src/inference/src/cpp/core.cpp:117:\nException from src/inference/src/dev/plugin.cpp:54:\n"
)
NO_PLUGIN = (
    'Failed to create plugin "/opt/v/lib/python3.11/site-packages/openvino/libs/libopenvino_intel_cpu_plugin.so" '
    "for device CPU\nPlease, check your environment\nException from src/plugins/intel_cpu/src/plugin.cpp:921:\n"
)
IN_ONNX_RUNTIME = (
    "/onnxruntime_src/onnxruntime/core/platform/posix/env.cc:327 onnxruntime::{anonymous}::PosixThread::PosixThread("
    "const char*, int, unsigned int (*)(int, Eigen::ThreadPoolInterface*), const onnxruntime::ThreadOptions&) "
)


@pytest.mark.parametrize(
    ("engine", "text", "message"),
    [
        (
            "OpenVINO",
            f"{IN_OPENVINO}std::bad_alloc\n\n\n",
            "OpenVINO could not compile the model: "
            "there is not enough memory (std::bad_alloc); close other programs or "
            "raise the memory limit (ulimit -v, or the container's), or use the engine onnxruntime, which needs less",
        ),
        (
            "OpenVINO",
            f"{IN_OPENVINO}{NO_PLUGIN}Resource temporarily unavailable\n\n",
            "OpenVINO could not compile the model: "
            "the operating system refused to start another thread (Resource temporarily unavailable); raise the limit "
            "of processes and threads (ulimit -u, or the container's pids limit) or the memory limit, which also "
            "applies to thread stacks, or use the engine onnxruntime with threads=1, which starts no threads",
        ),
        (
            "ONNX Runtime",
            f"{IN_ONNX_RUNTIME}pthread_create failed, error code: 11 error msg: Resource temporarily unavailable\n",
            "ONNX Runtime could not compile the model: the operating system refused to start another thread "
            "(pthread_create failed, error code: 11 error msg: Resource temporarily unavailable); raise the limit of "
            "processes and threads (ulimit -u, or the container's pids limit) or the memory limit, which also applies "
            "to thread stacks, or use threads=1, which starts no threads",
        ),
        (
            "OpenVINO",
            f"{IN_OPENVINO}{NO_PLUGIN}Exception from src/inference/src/os/lin/lin_system_conf.cpp:281:\n"
            "Wrong CPU information. processors: 0, numa_nodes: 1, cores: 0\n\n",
            "OpenVINO could not compile the model: the list of processors cannot be read (Wrong CPU information. "
            "processors: 0, numa_nodes: 1, cores: 0); mount /proc and /sys in this container or chroot, or use the "
            "engine onnxruntime",
        ),
        (
            "OpenVINO",
            'Exception from a.cpp:1:\nCannot load library "/v/site-packages/openvino/libs/libplugin.so": '
            "/v/site-packages/openvino/libs/libplugin.so: cannot open shared object file: No such file or directory",
            "OpenVINO could not compile the model: a library of the installation is missing or incompatible (Cannot "
            'load library "libplugin.so": libplugin.so: cannot open shared object file: No such file or directory); '
            "reinstall the package of OpenVINO",
        ),
        (
            "ONNX Runtime",
            "[ONNXRuntimeError] : 1 : FAIL : /onnxruntime_src/onnxruntime/core/graph/model.cc:256 "
            "onnxruntime::Model::Model(onnx::ModelProto&&, const onnxruntime::ModelOptions&) Unsupported model IR "
            "version: 99, max supported IR version: 14\n",
            "ONNX Runtime refused the model: the model uses a newer ONNX version than this engine supports "
            "(Unsupported model IR version: 99, max supported IR version: 14); update ONNX Runtime, or build the "
            "bundle again with the fer-edge installed here",
        ),
        (
            "OpenVINO",
            f"{IN_OPENVINO}CPU plugin requires a processor with SSE4.2 at least",
            "OpenVINO could not compile the model: "
            "this processor lacks required instructions (CPU plugin requires "
            "a processor with SSE4.2 at least); use the engine onnxruntime, or another machine",
        ),
        (
            "ONNX Runtime",
            "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for Conv(11) node with name "
            "'c'",
            "ONNX Runtime refused the model: the model contains an operator that this engine does not support (Could "
            "not find an implementation for Conv(11) node with name 'c'); update ONNX Runtime, or build the bundle "
            "again with: fer-edge build-engine",
        ),
        (
            "OpenVINO",
            f"{IN_OPENVINO}writing failed: No space left on device",
            "OpenVINO could not compile the model: "
            "the disk is full (writing failed: No space left on device); free some "
            "space, or set TMPDIR to a folder on another disk",
        ),
        (
            "OpenVINO",
            f"{IN_OPENVINO}Unrecognised failure of a kernel. And more text",
            "OpenVINO could not compile the model: Unrecognised failure of a kernel; update OpenVINO, or use the "
            "engine onnxruntime",
        ),
        ("the engine", "native", "the engine could not compile the model: native"),
        ("the engine", "", "the engine could not compile the model: RuntimeError"),
    ],
)
def test_recognised_message_becomes_cause_and_next_step(engine: str, text: str, message: str) -> None:
    assert str(engine_error(engine, COMPILE, RuntimeError(text))) == message


def test_failed_batch_is_not_reported_as_refused_model() -> None:
    text = "Required inputs (['pixels']) are missing from input feed (['images'])."
    message = str(engine_error("ONNX Runtime", "failed on a batch of 3", ValueError(text)))
    assert message == (
        "ONNX Runtime failed on a batch of 3: "
        "the model's input is not `images`, uint8 (N, 112, 112, 3) (Required inputs "
        "(['pixels']) are missing from input feed (['images'])); build the bundle with: fer-edge build-engine"
    )


def test_engine_errors_of_fer_edge_are_returned_unchanged() -> None:
    error = UnsupportedTargetError("openvino builds for cpu; got sm89")
    assert engine_error("OpenVINO", LOAD, error) is error
    converted = engine_error("OpenVINO", LOAD, BundleMismatchError("other platform"))
    assert (type(converted), str(converted)) == (EngineError, "OpenVINO could not load the model: other platform")


def test_memory_error_of_python_is_reported_as_out_of_memory() -> None:
    message = str(engine_error("OpenVINO", "failed on a batch of 3", MemoryError()))
    assert message.startswith("OpenVINO failed on a batch of 3: there is not enough memory (MemoryError); close other")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module named 'x'"), "X cannot be imported (No module named 'x'); run: pip install x"),
        (ImportError("odd\nreason"), "X cannot be imported (odd reason); run: pip install x"),
        (
            ImportError("libx.so.2: failed to map segment from shared object"),
            "X cannot be imported: there is not enough memory (libx.so.2: failed to map segment from shared object); "
            "close other programs or raise the memory limit (ulimit -v, or the container's)",
        ),
        (
            ImportError("/lib/libc.so.6: version `GLIBC_2.38' not found (required by x.so)"),
            "X cannot be imported: this system's C or C++ library is older than the package requires "
            "(/lib/libc.so.6: version `GLIBC_2.38' not found (required by x.so)); install a version of X for this "
            "system, or update the system",
        ),
    ],
)
def test_package_that_fails_to_load_names_its_cause(error: ImportError, message: str) -> None:
    converted = unavailable("X", "cannot be imported", error, "pip install x")
    assert (type(converted), str(converted)) == (EngineUnavailableError, message)


@given(st.text(), st.sampled_from(["OpenVINO", "ONNX Runtime", "the engine"]))
def test_any_text_becomes_one_short_printable_line(text: str, engine: str) -> None:
    message = str(engine_error(engine, COMPILE, RuntimeError(text)))
    assert message.isprintable() or not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in message)
    assert len(message) < 700


def with_operator(name: str) -> bytes:
    model = onnx.load_from_string(tiny_onnx())
    model.graph.node[0].op_type = name
    return model.SerializeToString()


def with_opset(version: int) -> bytes:
    model = onnx.load_from_string(tiny_onnx())
    model.opset_import[0].version = version
    return model.SerializeToString()


DAMAGED = "refused the model: the file is damaged, or not an ONNX model"
UNSUPPORTED = r"refused the model: the model contains an operator that this engine does not support \(.*Foo"


@pytest.mark.parametrize(
    ("engine", "model", "message"),
    [
        ("openvino", b"<html>404</html>", DAMAGED),
        ("onnxruntime", b"<html>404</html>", DAMAGED),
        ("openvino", tiny_onnx()[:200], DAMAGED),
        ("onnxruntime", tiny_onnx()[:200], DAMAGED),
        ("openvino", with_operator("Foo"), UNSUPPORTED),
        ("onnxruntime", with_operator("Foo"), UNSUPPORTED),
        ("onnxruntime", with_opset(99), "refused the model: the model uses a newer ONNX version"),
    ],
)
def test_refused_model_gives_a_one_line_error(
    engine: str, model: bytes, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EngineError, match=message) as raised:
        get_engine(engine).load(Artifact(model, None, 4), RunOptions(threads=1))
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_failing_session_prints_nothing_and_is_not_retried(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import onnxruntime

    attempts: list[Any] = []

    def fail(session: object, *arguments: Any) -> None:
        attempts.append(arguments)
        raise RuntimeError("pthread_create failed")

    monkeypatch.setattr(onnxruntime.InferenceSession, "_create_inference_session", fail)
    with pytest.raises(EngineError, match="ONNX Runtime could not load the model: the operating system refused"):
        get_engine("onnxruntime").load(Artifact(tiny_onnx(), None, 4), RunOptions(threads=1))
    assert len(attempts) == 1
    assert capfd.readouterr() == ("", "")


def test_import_without_memory_does_not_advise_reinstallation(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> Any:
        raise ImportError("libtensorrt_rtx.so.1: failed to map segment from shared object")

    monkeypatch.setattr(api, "import_package", fail)
    with pytest.raises(
        EngineUnavailableError, match="TensorRT-RTX cannot be imported: there is not enough memory"
    ) as raised:
        find_api("tensorrt-rtx")
    assert "reinstall" not in str(raised.value)
