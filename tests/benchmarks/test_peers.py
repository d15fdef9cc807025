"""The suite's contenders, as far as they run in the project's own environment."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.names import machine_slug
from benchmarks.peers import environments, prepare
from benchmarks.peers.environments import PROJECT, interpreter, variables
from benchmarks.peers.picture import Row, rows_of
from benchmarks.peers.picture import main as draw_picture
from benchmarks.peers.plain import Plain
from benchmarks.peers.prepare import is_made, mark_made
from benchmarks.peers.protocol import SIDE
from benchmarks.peers.run import GROUPS, HERE, PAIRS, ROOT, Score, _filled, scored, table
from benchmarks.turns import pairs
from fer_edge.benchmark.compare import Contender, comparisons, take_turns
from tests.tiny import LABELS, tiny_bundle


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    path = tmp_path / "faces.bin"
    np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8).tofile(path)
    return path


def contender(name: str, script: str, faces: Path, *arguments: object) -> Contender:
    command = [sys.executable, str(HERE / script), "--faces", str(faces), "--threads", "1", *map(str, arguments)]
    return Contender(name, command, variables(ROOT, 1))


def test_bundles_take_turns_and_are_scored(tmp_path: Path, faces: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny.fer")
    with (
        contender("a", "ours.py", faces, "--bundle", bundle, "--engine", "openvino") as first,
        contender("b", "ours.py", faces, "--bundle", bundle, "--engine", "onnxruntime") as second,
    ):
        assert first.described["labels"] == list(LABELS) and first.described["bytes"] > 500
        assert second.described["versions"].startswith("onnxruntime 1.")
        times = take_turns([first, second], rounds=6, turn=2)
        choices = first.ask({"choose": 5})["choices"]
        assert choices == second.ask({"choose": 5})["choices"]
        truth = [LABELS[choice] for choice in choices[:3]] + ["contempt", "nothing"]
        scores = {"a": scored(first, truth), "b": Score(1, 2)}
        printed = table(comparisons(times), [first, second], scores)
    assert scores["a"] == Score(3, 3), "faces whose label it does not have are left out"
    rows = [row.strip("| ").split(" | ") for row in printed.splitlines()]
    assert [row[0] for row in rows[2:]] == ["a", "b"]
    assert rows[2][-2:] == ["100.0", "3"] and rows[3][-2:] == ["50.0", "2"]


@pytest.mark.slow
def test_the_same_network_chooses_alike_in_all_hands(tmp_path: Path, faces: Path) -> None:
    from benchmarks.plain_export import plain_onnx
    from fer_edge.export.build import build
    from tests.tiny_model import tiny_checkpoint

    checkpoint, model, described = (tmp_path / name for name in ("m.safetensors", "m.onnx", "m.json"))
    tiny_checkpoint().save(checkpoint)
    build(checkpoint, tmp_path / "m.fer")
    model.write_bytes(plain_onnx(tiny_checkpoint().model))
    info = tiny_checkpoint().info
    described.write_text(json.dumps({"labels": info.labels, "mean": info.mean, "std": info.std, "head": info.head}))
    hands: dict[str, tuple[object, ...]] = {
        "ours.py": ("--bundle", tmp_path / "m.fer", "--engine", "openvino"),
        "pytorch.py": ("--checkpoint", checkpoint, "--described", described),
        "plain_onnxruntime.py": ("--model", model, "--described", described),
        "plain_openvino.py": ("--model", model, "--described", described, "--precision", "f32"),
    }
    found = {}
    for script, arguments in hands.items():
        with contender(script, script, faces, *arguments) as one:
            found[script] = [one.described["labels"][choice] for choice in one.ask({"choose": 5})["choices"]]
    assert len(set(map(tuple, found.values()))) == 1, found


def test_heads_are_joined_as_the_model_says(tmp_path: Path) -> None:
    label, text = np.array([[2.0, 1.9, 0.0]], np.float32), np.array([[0.0, 3.0, 5.0]], np.float32)
    for head, chosen in (("label", 0), ("text", 2), ("mean", 2)):
        path = tmp_path / f"{head}.json"
        path.write_text(json.dumps({"labels": LABELS, "mean": [0.5] * 3, "std": [0.25] * 3, "head": head}))
        plain = Plain(path)
        assert plain.decide(label, text) == chosen
        assert plain.decide(label, None) == 0
    prepared = plain.prepare(np.full((SIDE, SIDE, 3), 255, np.uint8))
    assert prepared.shape == (1, 3, 112, 112) and prepared.flags.c_contiguous
    assert np.allclose(prepared, 2)


def test_every_peer_has_its_script_and_environment(tmp_path: Path) -> None:
    names = {"{work}": "/w", "{model}": "edge", "{node}": "/n"}
    for peers in GROUPS.values():
        assert next(iter(peers)) == "fer-edge, openvino", "the one that others are compared with"
        for peer in peers.values():
            assert (HERE / peer.script).is_file()
            assert not any("{" in _filled(word, names) for word in peer.arguments)
    assert interpreter(PROJECT, tmp_path) == sys.executable
    assert variables(ROOT, 3)["OMP_NUM_THREADS"] == "3"


def test_pairs_that_ran_are_compared_with_intervals() -> None:
    weather = np.random.default_rng(0).uniform(1, 2, (40, 1)) * np.ones((1, 10)) * 1e6
    name, base = PAIRS[0]
    found = pairs({base: weather.astype(np.int64), name: (weather * 0.8).astype(np.int64)}, PAIRS)
    assert [one.setting for one in found] == [f"{name} to {base}"]
    assert found[0].low is not None and found[0].high is not None
    assert found[0].value == pytest.approx(0.8, abs=1e-4)
    assert found[0].low <= found[0].value <= found[0].high


def test_what_is_made_is_made_again_when_its_sources_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "edge.json"
    assert not is_made(file)
    file.write_text("{}")
    assert not is_made(file), "left by a run that was broken off"
    mark_made(file)
    assert is_made(file)
    monkeypatch.setattr(prepare, "_sources", lambda: "other code")
    assert not is_made(file)


def test_an_environment_is_made_again_when_its_pins_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def make(place: Path, name: str) -> None:
        place.mkdir()
        made.append(name)

    monkeypatch.setattr(environments, "_make_python", make)
    for pins in (["a==1"], ["a==1"], ["a==2"]):
        monkeypatch.setitem(environments.REQUIREMENTS, "nncf", pins)
        assert interpreter("nncf", tmp_path) == str(tmp_path / "nncf" / "bin" / "python")
    assert made == ["nncf", "nncf"]


def test_the_picture_has_a_row_for_each_contender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "peers.csv"
    file.write_text(
        "scenario,setting,figure,unit,value\n"
        "compare,slow one,p50,ms,4\ncompare,slow one,p90,ms,5\n"
        "compare,fer-edge,p50,ms,1\ncompare,fer-edge,p90,ms,2\naccuracy,fer-edge,accuracy,%,88.2\n"
        "pairs,fer-edge to slow one,ratio of p50,,0.25\n"
    )
    assert rows_of(file) == [Row("fer-edge", 1, 2, 88.2), Row("slow one", 4, 5, None)]
    pictures = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for picture in pictures:
        monkeypatch.setattr(sys, "argv", ["picture.py", str(file), str(picture)])
        draw_picture()
    first, second = (picture.read_bytes() for picture in pictures)
    assert first == second and first.startswith(b"<?xml")


def test_files_are_named_after_the_machine() -> None:
    assert machine_slug().endswith("cores") and " " not in machine_slug() and machine_slug() == machine_slug().lower()
