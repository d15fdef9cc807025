"""TensorRT-RTX engines on simulated bindings: header check, kernel cache and its failures."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from fer_edge.engines.base import Artifact, RunOptions
from fer_edge.engines.registry import engine_status
from fer_edge.engines.tensorrt import caches, engine, rtx
from fer_edge.engines.tensorrt.api import LOG
from fer_edge.engines.tensorrt.caches import CacheFile, cache_name
from fer_edge.engines.tensorrt.rtx import DeserializedRTXEngine
from fer_edge.engines.tensorrt.runner import TensorRTRunner
from fer_edge.errors import BundleMismatchError, EngineError, EngineUnavailableError
from tests.bindings_double import Diagnostics, api_double, plan
from tests.cuda_double import Gpu, device_double
from tests.engines.tensorrt.test_runner import IMAGES, MODEL, assert_equal, reference


@pytest.fixture(autouse=True)
def _device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtx, "compute_capability", lambda index: "sm89")


def load(gpu: Gpu, folder: Path, **header: Any) -> TensorRTRunner:
    artifact = Artifact(MODEL, plan(MODEL, 4, **header), 4)
    api = api_double(gpu, "tensorrt-rtx")
    options = RunOptions(cache=folder)
    return TensorRTRunner(lambda: device_double(gpu), lambda: DeserializedRTXEngine(api, artifact, options), 4)


def test_outputs_and_kernel_cache(tmp_path: Path) -> None:
    gpu = Gpu()
    with load(gpu, tmp_path / "cache") as runner, reference(4) as other:
        assert_equal(runner.infer(IMAGES[:3]), other.infer(IMAGES[:3]))
        assert "is_stream_capturable" in gpu.calls
    assert gpu.live_objects() == {}
    (written,) = (tmp_path / "cache").glob("*.cache")
    assert written.read_bytes() == b"kernels:compiled"
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0
    modified = written.stat().st_mtime_ns
    load(Gpu(), tmp_path / "cache").close()
    assert written.stat().st_mtime_ns == modified, "no new kernels, so the file is not written"


def test_kernels_of_other_processes_are_merged(tmp_path: Path) -> None:
    load(Gpu(), tmp_path).close()
    (written,) = tmp_path.glob("*.cache")
    written.write_bytes(b"kernels:others")
    load(Gpu(), tmp_path).close()
    assert written.read_bytes() == b"kernels:compiled,others"


@pytest.mark.parametrize("content", [b"", b"of another driver"])
def test_unusable_cache_is_replaced(tmp_path: Path, content: bytes) -> None:
    load(Gpu(), tmp_path).close()
    (written,) = tmp_path.glob("*.cache")
    written.write_bytes(content)
    with load(Gpu(), tmp_path) as runner:
        runner.infer(IMAGES[:1])
    assert written.read_bytes() == b"kernels:compiled"


def test_unwritable_cache_folder_only_logs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LOG, "disabled", False)  # libraries that configure logging disable other loggers
    caplog.set_level(logging.WARNING, LOG.name)
    (tmp_path / "file").write_text("")
    with load(Gpu(), tmp_path / "file") as runner:
        runner.infer(IMAGES[:1])
    assert "is not stored" in caplog.text


def test_context_that_cannot_be_captured_runs_without_graph(tmp_path: Path) -> None:
    gpu = Gpu()
    load(gpu, tmp_path).close()
    first = gpu.calls.index("is_stream_capturable")
    gpu = Gpu()
    gpu.faults[first] = False
    with load(gpu, tmp_path) as runner, reference(4) as other:
        assert runner.time_on_device(1, 1) is None
        assert_equal(runner.infer(IMAGES[:1]), other.infer(IMAGES[:1]))


@pytest.mark.parametrize(
    ("diagnostics", "kind", "message"),
    [
        (Diagnostics.UNSUPPORTED_CC, BundleMismatchError, "built for another GPU"),
        (Diagnostics.OLD_CUDA_DRIVER, EngineUnavailableError, "driver is too old"),
        (Diagnostics.VERSION_MISMATCH, BundleMismatchError, "another version of TensorRT"),
        (Diagnostics.MALFORMED_ENGINE, EngineError, "it is damaged or not an engine"),
    ],
)
def test_engine_refused_by_its_header_is_explained(
    tmp_path: Path, diagnostics: Diagnostics, kind: type[Exception], message: str
) -> None:
    gpu = Gpu()
    with pytest.raises(kind, match=message):
        load(gpu, tmp_path, diagnostics=diagnostics.value)
    assert "deserialize" not in gpu.calls and gpu.live_objects() == {}


def test_cache_names_differ_by_graph_version_and_gpu() -> None:
    names = {
        cache_name("timing", model, version, sm) for model in (b"a", b"b") for version in "12" for sm in ("x", "y")
    }
    assert len(names) == 8


def test_oldest_caches_are_deleted_above_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "MAX_FOLDER_BYTES", 25)
    monkeypatch.setattr(caches, "MAX_FILE_BYTES", 12)
    for number in range(4):
        CacheFile(tmp_path, f"{number}.cache").update(lambda present: b"0123456789")
    assert sorted(entry.name for entry in tmp_path.glob("*.cache")) == ["2.cache", "3.cache"]
    CacheFile(tmp_path, "large.cache").update(lambda present: b"0123456789abc")
    assert not (tmp_path / "large.cache").exists()
    (tmp_path / "3.cache").write_bytes(b"0123456789abc")
    assert CacheFile(tmp_path, "3.cache").read() == b""


@pytest.mark.parametrize(("target", "runs"), [("sm75", True), ("sm121", True), ("sm87", False), ("sm90", False)])
def test_unsupported_gpu_is_referred_to_tensorrt(target: str, runs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find_api", lambda product: api_double(Gpu(), product))
    monkeypatch.setattr(engine, "check_cuda", lambda: None)
    monkeypatch.setattr(engine, "compute_capability", lambda device: target)
    status = engine_status("tensorrt-rtx")
    assert (status.can_build, status.can_run) == (True, runs), "every machine can build for other machines"
    expected = (
        f"no engines for {target}, the GPU of this machine; expected one of: sm75, sm80, sm86, sm89, sm120, sm121"
    )
    assert status.reason == ("" if runs else f"tensorrt-rtx has {expected}: use the engine tensorrt here")
