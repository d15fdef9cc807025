"""Comparison of contenders in worker processes."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from fer_edge.benchmark.compare import _Contender, _environment, compare
from fer_edge.benchmark.worker import Worker, alternate, compare_commands, comparisons_from_times, temporary_folder
from fer_edge.bundle import EngineEntry, write_bundle
from fer_edge.errors import BundleError, ConfigError, EngineError, FerEdgeError
from fer_edge.hardware import gpu as nvidia
from fer_edge.hardware.gpu import Driver, Gpu
from tests.benchmark.progress_recorder import ProgressRecorder
from tests.tiny import tiny_bundle, tiny_manifest, tiny_onnx

SCRIPT = """
import json, sys
print(json.dumps({"ready": {"version": "1.2"}}), flush=True)
for index, line in enumerate(sys.stdin):
    count = json.loads(line)["time"]
    print(json.dumps({"nanoseconds": [MILLISECONDS * 1000000 + 1000 * index] * count}), flush=True)
"""


def command(milliseconds: int) -> list[str]:
    return [sys.executable, "-c", SCRIPT.replace("MILLISECONDS", str(milliseconds))]


def test_workers_alternate_and_are_compared_with_the_first() -> None:
    rounds: list[None] = []
    with Worker("slow", command(8)) as slow, Worker("fast", command(4)) as fast:
        assert slow.ready == {"version": "1.2"}
        times = alternate([slow, fast], rounds=12, queries_per_turn=3, progress=lambda: rounds.append(None))
    assert {name: durations.shape for name, durations in times.items()} == {"slow": (12, 3), "fast": (12, 3)}
    # Each answer is 1 us longer than the last: every worker had one turn per round, after one turn that is not timed.
    assert times["fast"][:, 0].tolist() == [4_000_000 + 1000 * index for index in range(1, 13)]
    assert len(rounds) == 12
    first, second = comparisons_from_times(times)
    assert (first.name, first.p50_ratio.value) == ("slow", 1)
    assert second.p50_ratio.value == pytest.approx(0.5, abs=0.001)
    assert second.p50_ratio.low is not None and second.p50_ratio.low <= second.p50_ratio.value
    assert second.p90_ratio.value == pytest.approx(0.5, abs=0.001)
    assert second.latency.count == 36


def test_ratios_do_not_depend_on_the_speed_of_the_machine() -> None:
    speed = np.random.default_rng(0).uniform(1, 3, (30, 1))
    base = (speed * np.full((30, 5), 1e6)).astype(np.int64)
    _, other = comparisons_from_times({"a": base, "b": (base * 0.9).astype(np.int64)})
    assert other.p50_ratio.low == pytest.approx(0.9, abs=1e-4) == other.p50_ratio.high


def test_error_of_a_worker_has_its_standard_error() -> None:
    broken = [sys.executable, "-c", "import sys; sys.exit('error: no bundle at x.fer')"]
    with pytest.raises(EngineError, match=r"^peer failed: error: no bundle at x\.fer"):
        compare_commands({"peer": broken}, rounds=2, queries_per_turn=1)
    chatty = [sys.executable, "-c", "print('hello')"]
    with pytest.raises(EngineError, match=r"^peer failed: unexpected output 'hello"):
        compare_commands({"peer": chatty}, rounds=2, queries_per_turn=1)
    dies = [sys.executable, "-c", "print('{\"ready\": {}}'); raise SystemExit('out of memory')"]
    with pytest.raises(EngineError, match=r"^peer failed: out of memory"):
        compare_commands({"peer": dies}, rounds=2, queries_per_turn=1)


def test_worker_exits_with_its_block(tmp_path: Path) -> None:
    marker = tmp_path / "exited"
    script = SCRIPT.replace("MILLISECONDS", "1") + f"open({str(marker)!r}, 'w')"
    with Worker("a", [sys.executable, "-c", script]) as worker:
        worker.time(1)
    assert marker.exists()


def test_interrupt_keeps_finished_rounds() -> None:
    class Timer:
        name = "a"

        def __init__(self, calls: int) -> None:
            self.calls = calls

        def time(self, queries: int) -> list[int]:
            self.calls -= 1
            if self.calls < 0:
                raise KeyboardInterrupt
            return [5] * queries

    assert alternate([Timer(9)], 20, 2, keep_rounds=True)["a"].shape == (8, 2)  # the first call is a warm-up
    for timer, keep in ((Timer(9), False), (Timer(4), True)):
        with pytest.raises(KeyboardInterrupt):
            alternate([timer], 20, 2, keep_rounds=keep)


def test_engines_of_a_bundle_are_compared_with_one_call(tmp_path: Path) -> None:
    bundle, csv, progress = tiny_bundle(tmp_path / "tiny.fer"), tmp_path / "figures.csv", ProgressRecorder()
    names = [f"{bundle}@openvino", f"{bundle}@onnxruntime"]
    report = compare(names, rounds=6, queries_per_turn=3, threads=1, csv=str(csv), progress=progress)
    assert [contender.name for contender in report.contenders] == names
    assert (report.rounds, report.queries_per_turn) == (6, 3) and report.contenders[1].latency.count == 18
    assert progress.done == progress.totals == {"comparing": 6}
    assert "ratio of p50" in csv.read_text() and "openvino" in str(report)
    assert json.loads(report.to_json())["environment"]["threads"] == 1


def test_contender_is_a_bundle_with_or_without_engine(tmp_path: Path) -> None:
    assert _Contender.parse("a/b.fer@openvino").engine == "openvino"
    for text in ("a/b.fer", "a@b/c.fer", "a@b.fer"):
        contender = _Contender.parse(text)
        assert (contender.bundle, contender.engine, contender.name) == (Path(text), None, text)
    assert _Contender.parse("edge@onnxruntime").bundle.name == "edge.fer"


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny.fer")
    with pytest.raises(ConfigError, match=r"no engine 'openvin'; expected one of: openvino, .*did you mean openvino"):
        compare([bundle, f"{bundle}@openvin"])
    with pytest.raises(ConfigError, match="no bundle at edgee; expected a file, or one"):
        compare([bundle, "edgee"])
    for same in ([bundle], [bundle, bundle]):
        with pytest.raises(ConfigError, match="expected two or more different contenders"):
            compare(same)
    with pytest.raises(ConfigError, match="a device applies only to engines that run on a GPU, not to openvino"):
        compare([bundle, f"{bundle}@openvino"], device=0)
    with pytest.raises(ConfigError, match="expected at least 6 rounds"):
        compare([bundle, f"{bundle}@openvino"], rounds=5)
    with pytest.raises(ConfigError, match="is also an input"):
        compare([bundle, f"{bundle}@openvino"], csv=bundle)
    with pytest.raises(BundleError, match="tensorrt-rtx"):
        compare([bundle, f"{bundle}@tensorrt-rtx"])


def test_environment_has_the_gpu_of_its_contenders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = (Gpu("NVIDIA RTX A2000", "sm86", 6144, integrated=False), Gpu("NVIDIA H100", "sm90", 81_559, False))
    monkeypatch.setattr(nvidia, "read_driver", lambda: Driver((13, 0), gpus))
    path, members = tmp_path / "a.fer", {"model.onnx": tiny_onnx(), "engines/x": b"x"}
    on_gpu = EngineEntry("tensorrt", ("sm86",), "11", "engines/x", None)
    write_bundle(path, tiny_manifest(engines=(EngineEntry("openvino", ("cpu",), "1", None, None), on_gpu)), members)
    bundle, openvino, tensorrt = (_Contender.parse(f"{path}{engine}") for engine in ("", "@openvino", "@tensorrt"))
    assert "GPU" not in _environment([bundle, openvino], None)
    facts = _environment([bundle, tensorrt], None)
    assert (facts["GPU device"], facts["GPU"], facts["GPU architecture"]) == ("0", "NVIDIA RTX A2000", "sm86")
    assert _environment([bundle, tensorrt], 1)["GPU"] == "NVIDIA H100"


def test_temporary_folder_is_removed_after_the_block() -> None:
    with temporary_folder() as folder:
        (folder / "file").write_text("x")
    assert not folder.exists()


def test_error_of_a_temporary_folder_names_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    expected = r"^cannot create a temporary folder: .*; set TMPDIR to a writable folder"
    with pytest.raises(FerEdgeError, match=expected), temporary_folder():
        pass
