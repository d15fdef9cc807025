"""Workers of the peers that run in the project's own environment."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.in_process import ratio_rows
from benchmarks.names import machine_slug
from benchmarks.peers import environments, prepare
from benchmarks.peers.environments import PROJECT, interpreter, variables
from benchmarks.peers.picture import Row, rows_of
from benchmarks.peers.picture import main as draw_picture
from benchmarks.peers.plain_model import PlainModel
from benchmarks.peers.prepare import is_up_to_date, mark_up_to_date
from benchmarks.peers.protocol import SIDE
from benchmarks.peers.run import GROUPS, HERE, PAIRS, ROOT, Score, _fill, score, table
from fer_edge.benchmark.worker import Worker, alternate, comparisons_from_times
from tests.tiny import LABELS, tiny_bundle


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    path = tmp_path / "faces.bin"
    np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8).tofile(path)
    return path


def worker(name: str, script: str, faces: Path, *arguments: object) -> Worker:
    command = [sys.executable, str(HERE / script), "--faces", str(faces), "--threads", "1", *map(str, arguments)]
    return Worker(name, command, variables(ROOT, 1))


def test_bundles_alternate_and_are_scored(tmp_path: Path, faces: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny.fer")
    with (
        worker("a", "fer_edge_bundle.py", faces, "--bundle", bundle, "--engine", "openvino") as first,
        worker("b", "fer_edge_bundle.py", faces, "--bundle", bundle, "--engine", "onnxruntime") as second,
    ):
        assert first.ready["labels"] == list(LABELS) and first.ready["bytes"] > 500
        assert second.ready["versions"].startswith("onnxruntime 1.")
        times = alternate([first, second], rounds=6, queries_per_turn=2)
        predictions = first.request({"predict": 5})["predictions"]
        assert predictions == second.request({"predict": 5})["predictions"]
        truth = [LABELS[index] for index in predictions[:3]] + ["contempt", "nothing"]
        scores = {"a": score(first, truth), "b": Score(1, 2)}
        printed = table(comparisons_from_times(times), [first, second], scores)
    assert scores["a"] == Score(3, 3), "faces whose label it does not have are skipped"
    rows = [row.strip("| ").split(" | ") for row in printed.splitlines()]
    assert [row[0] for row in rows[2:]] == ["a", "b"]
    assert rows[2][-2:] == ["100.0", "3"] and rows[3][-2:] == ["50.0", "2"]


@pytest.mark.slow
def test_same_network_predicts_the_same_in_all_software(tmp_path: Path, faces: Path) -> None:
    from benchmarks.plain_export import plain_onnx
    from fer_edge.export.build import build
    from tests.tiny_model import tiny_checkpoint

    checkpoint, model, description = (tmp_path / name for name in ("m.safetensors", "m.onnx", "m.json"))
    tiny_checkpoint().save(checkpoint)
    build(checkpoint, tmp_path / "m.fer")
    model.write_bytes(plain_onnx(tiny_checkpoint().model))
    info = tiny_checkpoint().info
    description.write_text(json.dumps({"labels": info.labels, "mean": info.mean, "std": info.std, "head": info.head}))
    scripts: dict[str, tuple[object, ...]] = {
        "fer_edge_bundle.py": ("--bundle", tmp_path / "m.fer", "--engine", "openvino"),
        "pytorch.py": ("--checkpoint", checkpoint, "--description", description),
        "plain_onnxruntime.py": ("--model", model, "--description", description),
        "plain_openvino.py": ("--model", model, "--description", description, "--precision", "f32"),
    }
    predicted = {}
    for script, arguments in scripts.items():
        with worker(script, script, faces, *arguments) as peer:
            labels = peer.ready["labels"]
            predicted[script] = [labels[index] for index in peer.request({"predict": 5})["predictions"]]
    assert len(set(map(tuple, predicted.values()))) == 1, predicted


def test_heads_are_combined_as_in_the_model(tmp_path: Path) -> None:
    label, text = np.array([[2.0, 1.9, 0.0]], np.float32), np.array([[0.0, 3.0, 5.0]], np.float32)
    for head, label_index in (("label", 0), ("text", 2), ("mean", 2)):
        path = tmp_path / f"{head}.json"
        path.write_text(json.dumps({"labels": LABELS, "mean": [0.5] * 3, "std": [0.25] * 3, "head": head}))
        plain = PlainModel(path)
        assert plain.predict(label, text) == label_index
        assert plain.predict(label, None) == 0
    prepared = plain.prepare(np.full((SIDE, SIDE, 3), 255, np.uint8))
    assert prepared.shape == (1, 3, 112, 112) and prepared.flags.c_contiguous
    assert np.allclose(prepared, 2)


def test_every_peer_has_its_script_and_environment(tmp_path: Path) -> None:
    names = {"{work}": "/w", "{model}": "edge", "{node}": "/n"}
    for peers in GROUPS.values():
        assert next(iter(peers)) == "fer-edge, openvino", "the baseline"
        for peer in peers.values():
            assert (HERE / peer.script).is_file()
            assert not any("{" in _fill(word, names) for word in peer.arguments)
    assert interpreter(PROJECT, tmp_path) == sys.executable
    assert variables(ROOT, 3)["OMP_NUM_THREADS"] == "3"


def test_ratios_of_timed_pairs_have_intervals() -> None:
    speed = np.random.default_rng(0).uniform(1, 2, (40, 1)) * np.ones((1, 10)) * 1e6
    name, base = PAIRS[0]
    ratios = ratio_rows({base: speed.astype(np.int64), name: (speed * 0.8).astype(np.int64)}, PAIRS)
    (ratio,) = ratios
    assert ratio.setting == f"{name} to {base}"
    assert ratio.low is not None and ratio.high is not None
    assert ratio.value == pytest.approx(0.8, abs=1e-4)
    assert ratio.low <= ratio.value <= ratio.high


def test_file_is_outdated_when_its_sources_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "edge.json"
    assert not is_up_to_date(file)
    file.write_text("{}")
    assert not is_up_to_date(file), "an interrupted run may have left it"
    mark_up_to_date(file)
    assert is_up_to_date(file)
    monkeypatch.setattr(prepare, "_source_hash", lambda: "other code")
    assert not is_up_to_date(file)


def test_environment_is_created_again_when_its_pins_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    created = []

    def create(root: Path, name: str) -> None:
        root.mkdir()
        created.append(name)

    monkeypatch.setattr(environments, "_make_python", create)
    for pins in (["a==1"], ["a==1"], ["a==2"]):
        monkeypatch.setitem(environments.REQUIREMENTS, "nncf", pins)
        assert interpreter("nncf", tmp_path) == str(tmp_path / "nncf" / "bin" / "python")
    assert created == ["nncf", "nncf"]


def test_picture_has_a_row_for_each_contender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "peers.csv"
    file.write_text(
        "scenario,setting,figure,unit,value\n"
        "compare,slow peer,p50,ms,4\ncompare,slow peer,p90,ms,5\n"
        "compare,fer-edge,p50,ms,1\ncompare,fer-edge,p90,ms,2\naccuracy,fer-edge,accuracy,%,88.2\n"
        "pairs,fer-edge to slow peer,ratio of p50,,0.25\n"
    )
    assert rows_of(file) == [Row("fer-edge", 1, 2, 88.2), Row("slow peer", 4, 5, None)]
    pictures = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for picture in pictures:
        monkeypatch.setattr(sys, "argv", ["picture.py", str(file), str(picture)])
        draw_picture()
    first, second = (picture.read_bytes() for picture in pictures)
    assert first == second and first.startswith(b"<?xml")


def test_file_names_have_the_machine() -> None:
    assert machine_slug().endswith("cores") and " " not in machine_slug() and machine_slug() == machine_slug().lower()
