"""Choice of settings, and their use by a tuned bundle."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from fer_edge import Bundle, Recognizer
from fer_edge.benchmark import tune
from fer_edge.benchmark.all_scenarios import thread_counts
from fer_edge.benchmark.noise import Noise
from fer_edge.benchmark.scenarios import scaling
from fer_edge.benchmark.scenarios.multi_stream import MultiStream
from fer_edge.benchmark.scenarios.scaling import ScalingPoint, measure_point, recommend, run_scaling
from fer_edge.benchmark.statistics import Estimate, distribution_from_samples
from fer_edge.benchmark.tune import Goal, check_quiet, confirm, goal_from_text, write_tuning
from fer_edge.benchmark.workload import synthetic_workload
from fer_edge.bundle import Tuning
from fer_edge.errors import BundleDamagedError, ConfigError, EngineError
from fer_edge.hardware.cpu import cores, machine_name
from tests.benchmark.quiet_machine import pretend_quiet_machine
from tests.tiny import tiny_bundle, tiny_manifest

FRAME = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
BOXES = [(float(10 * index), 5.0, 60.0, 80.0) for index in range(5)]


def point(threads: int, streams: int, batch: int, ms: float, rate: float) -> ScalingPoint:
    return ScalingPoint(threads, streams, batch, rate, distribution_from_samples(np.full(10, ms * 1e6)))


POINTS = [
    point(1, 1, 1, 3.0, 330),
    point(2, 1, 1, 2.0, 500),
    point(1, 2, 1, 3.2, 620),
    point(1, 2, 8, 24.0, 640),
    point(2, 1, 8, 15.0, 530),
]


def test_best_settings_of_both_goals() -> None:
    def best(text: str) -> tuple[int, int, int]:
        best = goal_from_text(text).rank(POINTS)[0]
        return best.threads, best.streams, best.batch

    assert best("p99=2.5") == (2, 1, 1)
    assert best("p99=10") == (1, 2, 1)
    # 640 and 620 images per second count as equal: the smaller batch is preferred.
    assert best("p99=100") == (1, 2, 1)
    assert best("throughput=400") == (2, 1, 1)
    assert best("throughput=630") == (1, 2, 8)
    assert goal_from_text("p99=1").rank(POINTS) == []


def test_settings_are_recommended_for_two_kinds_of_apps() -> None:
    best = recommend(POINTS)
    assert str(best.fastest) == "threads 2, streams 1, batch 1"
    assert str(best.most) == "threads 1, streams 2, batch 1"
    close = point(1, 1, 1, 2.05, 330)
    assert recommend([close, *POINTS]).fastest.threads == 1


@pytest.mark.parametrize("text", ["p99", "p99=", "p99=-1", "p99=nan", "p50=3", "throughput=0", "=3", "p99=1e99"])
def test_malformed_goals_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected p99=MS or throughput=IMAGES_PER_SECOND"):
        goal_from_text(text)


@pytest.mark.slow
def test_all_combinations_are_measured_and_the_best_confirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_quiet_machine(monkeypatch)
    path = tiny_bundle(tmp_path / "a.fer", max_batch=2)
    workload = synthetic_workload()
    opened: list[int] = []

    def open_recognizer(threads: int) -> Recognizer:
        opened.append(threads)
        return Recognizer.open(path, "onnxruntime", threads)

    points = run_scaling(open_recognizer, workload, 0.1, (1, 2), (1, 2), batches=(1, 2, 4))
    assert [(point.threads, point.streams, point.batch) for point in points] == [
        (threads, streams, batch) for threads in (1, 2) for streams in (1, 2) for batch in (1, 2)
    ]
    assert opened == [1, 1, 1, 2, 2, 2]
    again = confirm(points, Goal("p99", 1000), open_recognizer, workload, 0.05)
    assert again.images_per_second > 0 and again not in points
    with pytest.raises(
        EngineError, match=r"meets p99=1e-05 on this machine; the nearest, threads \d, streams \d, batch \d, has"
    ):
        confirm(points, Goal("p99", 1e-5), open_recognizer, workload, 0.05)


@pytest.mark.parametrize(
    ("others", "stolen", "message"),
    [(None, None, ""), (0.04, 0.0, ""), (0.84, 0.0, "84 %"), (0.07, 0.06, "13 %")],
)
def test_measurements_of_a_busy_machine_are_refused(others: float | None, stolen: float | None, message: str) -> None:
    quiet, noise = Noise(None, 0.01, 0.0, None, None), Noise(None, others, stolen, None, None)
    if not message:
        check_quiet(quiet, noise)
        return
    expected = rf"other processes used {message} of the CPU time .*allows 10 %; the bundle is unchanged: .*--force"
    for noises in ((quiet, noise), (noise, quiet)):
        with pytest.raises(EngineError, match=expected):
            check_quiet(*noises)


def point_with(p99: Estimate, *, steady: bool = True) -> ScalingPoint:
    plain = point(1, 1, 1, 7.0, 140)
    return replace(plain, latency=replace(plain.latency, p99=p99), steady=steady)


def test_upper_bound_of_p99_must_be_within_the_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    goal = Goal("p99", 8)
    assert goal.confirmed_by(point_with(Estimate(7.5, 7.0, 7.9)))
    assert not goal.confirmed_by(point_with(Estimate(7.5))), "too few samples for an upper bound"
    assert not goal.confirmed_by(point_with(Estimate(7.5, 7.0, 7.9), steady=False))
    assert not goal.confirmed_by(point_with(Estimate(7.5, 7.0, 8.4)))
    assert Goal("throughput", 100).confirmed_by(point_with(Estimate(7.5, 7.0, 8.4)))
    assert Goal("throughput", 100).confirmed_by(point_with(Estimate(7.5)))
    assert not Goal("throughput", 100).confirmed_by(point_with(Estimate(7.5), steady=False))
    monkeypatch.setattr(tune, "measure_point", lambda *arguments: point_with(Estimate(7.5, 7.0, 8.4)))
    expected = (
        "no setting reliably meets p99=8 on this machine; the nearest, threads 1, streams 1, batch 1, has an engine p99"
    )
    with pytest.raises(EngineError, match=expected + r" of 7\.50 ms \(up to 8\.40\) and 140 images/s"):
        confirm([point(1, 1, 1, 7.0, 140)], goal, lambda threads: mock.MagicMock(), synthetic_workload(), 0.01)


@pytest.mark.parametrize(
    ("nearest", "remedy"),
    [
        (point_with(Estimate(7.5)), "there were too few queries for an upper bound; use a larger --seconds"),
        (point_with(Estimate(7.5, 7.0, 7.9), steady=False), "the speed changed in the middle of the run; repeat it"),
        (point_with(Estimate(7.5, 7.0, 8.4)), "choose a weaker goal, or measure longer with --seconds"),
        (point_with(Estimate(8.5), steady=False), "choose a weaker goal, or measure longer with --seconds"),
    ],
)
def test_error_has_the_remedy_for_the_nearest_setting(
    nearest: ScalingPoint, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "measure_point", lambda *arguments: nearest)
    with pytest.raises(EngineError, match=f"the bundle is unchanged: {remedy}"):
        confirm(
            [point(1, 1, 1, 7.0, 140)], Goal("p99", 8), lambda threads: mock.MagicMock(), synthetic_workload(), 0.01
        )


def test_point_is_unsteady_if_its_run_was(monkeypatch: pytest.MonkeyPatch) -> None:
    run = MultiStream(1, 1, 140, 1.0, POINTS[0].latency, steady=False)
    monkeypatch.setattr(scaling, "run_streams", lambda *arguments, **options: run)
    assert not measure_point([], synthetic_workload(), 1, 1, 0.1).steady


def test_thread_counts_reach_all_cores(tmp_path: Path) -> None:
    counts = thread_counts(Bundle.open(tiny_bundle(tmp_path / "a.fer")), None)
    assert counts[0] == 1 and counts[-1] == cores() and list(counts) == sorted(set(counts))


def test_tuned_bundle_is_used_with_its_settings(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer", max_batch=8)
    before = Bundle.open(path)
    written = write_tuning(before, "onnxruntime", point(1, 2, 2, 5.0, 300), Goal("p99", 8))
    assert written == Tuning("onnxruntime", machine_name(), 1, 2, 2, "p99=8", 5.0, 300.0)
    bundle = Bundle.open(path)
    assert bundle.manifest == replace(before.manifest, tunings=(written,))
    assert bundle.read("model.onnx") == before.read("model.onnx")
    assert bundle.tuning("onnxruntime") == written and bundle.tuning("openvino") is None
    with Recognizer.open(path, "onnxruntime") as tuned, Recognizer.open(path, "onnxruntime", threads=2) as untuned:
        assert tuned.tuning == written and untuned.tuning is None
        with mock.patch.object(tuned.runner, "run", wraps=tuned.runner.run) as run:
            labels = [expression.label for expression in tuned.recognize_faces(FRAME, BOXES)]
        assert [len(call.args[0]) for call in run.call_args_list] == [2, 2, 1]
        assert labels == [expression.label for expression in untuned.recognize_faces(FRAME, BOXES)]
    again = write_tuning(Bundle.open(path), "onnxruntime", point(2, 1, 1, 4.0, 200), Goal("throughput", 150))
    write_tuning(Bundle.open(path), "openvino", point(1, 1, 1, 4.0, 200), Goal("p99", 5))
    assert [tuning.engine for tuning in Bundle.open(path).manifest.tunings] == ["onnxruntime", "openvino"]
    assert Bundle.open(path).tuning("onnxruntime") == again


def test_tunings_of_other_machines_are_not_used(tmp_path: Path) -> None:
    elsewhere = Tuning("openvino", "Some other CPU, 64 cores", 32, 1, 8, "p99=8", 1.0, 900.0)
    path = tiny_bundle(tmp_path / "a.fer", tunings=(elsewhere,))
    assert Bundle.open(path).tuning() is None
    with Recognizer.open(path) as recognizer:
        assert recognizer.tuning is None
    local = write_tuning(Bundle.open(path), None, point(1, 1, 1, 4.0, 200), Goal("p99", 5))
    assert Bundle.open(path).manifest.tunings == (elsewhere, local)


def test_untuned_bundle_has_no_tunings_key(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    with zipfile.ZipFile(path) as archive:
        assert "tunings" not in json.loads(archive.read("manifest.json"))
    assert Bundle.open(path).manifest.tunings == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"threads": 0},
        {"threads": "two"},
        {"streams": True},
        {"batch": 10**6},
        {"p99_ms": "fast"},
        {"machine": 7},
        {"surprise": 1},
        None,
    ],
)
def test_malformed_tunings_are_refused(tmp_path: Path, changes: dict[str, object] | None) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    good = asdict(Tuning("openvino", "x", 1, 1, 1, "p99=8", 1.0, 900.0))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members["manifest.json"])
    manifest["tunings"] = "none" if changes is None else [{**good, **changes}]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, json.dumps(manifest) if name == "manifest.json" else data)
    with pytest.raises(BundleDamagedError, match=r"invalid manifest\.json"):
        Bundle.open(path)
    assert tiny_manifest().tunings == ()
