"""Evaluation report of known outputs, shown in a browser."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from fer_edge._files import make_folder
from fer_edge.data.images import ImageSet
from fer_edge.errors import CheckpointError, DataError, FerEdgeError
from fer_edge.evaluation.accuracy import Outputs
from fer_edge.evaluation.corruption_scores import measure_robustness
from fer_edge.evaluation.features import MIN_POINTS, FeatureMap, embed, feature_map, sample
from fer_edge.evaluation.open_model import OpenedModel, open_model, open_reference
from fer_edge.evaluation.report import PICTURES, report_files, write_report
from fer_edge.model.runner import PyTorchRunner
from tests.browser import COLOR_SCHEMES, show
from tests.tiny import LABELS, tiny_bundle
from tests.tiny_model import tiny_checkpoint

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ATTACK = "<img src=x onerror=alert(1)>\"'&$x_"  # no / in a file name
# true label, probabilities of the label head, probabilities of the text head
ROWS = [
    (0, (0.8, 0.1, 0.1), (0.7, 0.2, 0.1)),
    (1, (0.8, 0.1, 0.1), (0.8, 0.1, 0.1)),  # confident and wrong
    (2, (0.5, 0.3, 0.2), (0.3, 0.5, 0.2)),  # the heads disagree, and both are wrong
    (2, (0.1, 0.1, 0.8), (0.9, 0.1, 0.0)),  # they disagree, both are confident; the text head is wrong
    (1, (0.2, 0.6, 0.2), (0.2, 0.6, 0.2)),
]


@pytest.fixture
def model(tmp_path: Path) -> OpenedModel:
    return replace(open_model(tiny_bundle(tmp_path / "tiny.fer"), "onnxruntime"), head="mean")


def outputs(root: Path, rows: Any = ROWS, name: str = "face", skipped: tuple[str, ...] = ()) -> Outputs:
    paths = []
    for index, (true, _, _) in enumerate(rows):
        paths.append(root / f"{name} {index}.png")
        Image.new("L", (48, 48), 40 * true + 5 * index).save(paths[-1])
    true = np.array([row[0] for row in rows])
    label, text = (np.array([row[head] for row in rows], np.float32) for head in (1, 2))
    images = ImageSet(tuple(paths), true, None, "synthetic")
    tiny = np.float32(1e-6)
    return Outputs(true, np.log(label + tiny), np.log(text + tiny), (label + text) * np.float32(0.5), images, skipped)


def some_map(count: int = 40) -> FeatureMap:
    random = np.random.default_rng(0)
    return FeatureMap("steering", random.normal(size=(count, 2)).astype(np.float32), np.arange(count) % 3)


def test_report_writes_numbers_and_pictures(model: OpenedModel, tmp_path: Path) -> None:
    robustness = measure_robustness(model.runner, outputs(tmp_path))
    page = write_report(
        tmp_path / "out", report_files(model, outputs(tmp_path), some_map(), tmp_path, robustness=robustness)
    )
    assert page == tmp_path / "out" / "report.html"
    assert {file.name for file in page.parent.iterdir()} == {"report.html", "report.json", *PICTURES}
    for name in PICTURES:
        with Image.open(page.parent / name) as image:
            assert min(image.size) > 100
    numbers = json.loads((page.parent / "report.json").read_text())
    assert (numbers["model"], numbers["engine"], numbers["data"]) == ("tiny.fer", "onnxruntime", "synthetic")
    assert numbers["labels"] == list(LABELS)
    assert numbers["accuracy"] == 40
    assert numbers["heads"]["label"]["accuracy"] == 60
    assert numbers["confusion"] == [[1, 0, 0], [1, 1, 0], [2, 0, 0]]
    assert [example["image"] for example in numbers["mistakes"]] == ["face 1.png", "face 3.png", "face 2.png"]
    assert numbers["mistakes"][0] == {
        "image": "face 1.png",
        "true": "happiness",
        "predicted": {"label": "neutral", "score": 0.8},
        "heads": {"label": {"label": "neutral", "score": 0.8}, "text": {"label": "neutral", "score": 0.8}},
    }
    assert [example["image"] for example in numbers["disagreements"]] == ["face 3.png", "face 2.png"]
    assert numbers["features"] == {"token": "steering", "images": 40, "seed": 0}


def test_equal_evaluations_give_equal_bytes(model: OpenedModel, tmp_path: Path) -> None:
    runs = [report_files(model, outputs(tmp_path), some_map(), tmp_path) for _ in range(2)]
    assert runs[0] == runs[1]
    assert list(runs[0])[-1] == "report.html"


def test_browser_shows_every_picture_without_errors(model: OpenedModel, tmp_path: Path, browser: Browser) -> None:
    page = write_report(tmp_path / "out", report_files(model, outputs(tmp_path), some_map(), tmp_path))
    for width, scheme in product((390, 1200), COLOR_SCHEMES):
        shown = show(browser, page, width, scheme)
        assert (shown.broken, shown.complaints, shown.requests) == ([], [], [])
        assert shown.images == [
            "Confusion matrix; the table below has the same numbers.",
            "Reliability diagram: accuracy over score.",
            *("face 1.png", "face 3.png", "face 2.png"),  # mistakes
            *("face 3.png", "face 2.png"),  # disagreements
            "Map of the images by the steering token's feature.",
        ]
        assert shown.scroll_width <= width
        assert "tiny.fer on synthetic" in shown.text
        assert "The heads agree on 60.00 % of the images. Accuracy on these images: 66.7 %." in shown.text
        assert "Accuracy on the other images: 0.0 %." in shown.text


def test_labels_and_file_names_are_escaped(model: OpenedModel, tmp_path: Path, browser: Browser) -> None:
    bad = replace(model, name=ATTACK, labels=(ATTACK, "<script>alert(2)</script>", "c" * 300))
    rows = [*ROWS, (0, (0.0, 0.1, 0.9), (0.0, 0.1, 0.9))]  # the long label is predicted once
    hostile = outputs(tmp_path, rows, ATTACK, (f"{ATTACK} is empty",))
    page = write_report(tmp_path / "out", report_files(bad, hostile, ATTACK, tmp_path))
    shown = show(browser, page, 390)
    assert (shown.broken, shown.complaints, shown.requests) == ([], [], [])
    assert f"{ATTACK} on synthetic" in shown.text
    assert f"{ATTACK} is empty" in shown.text
    assert f"No feature map: {ATTACK}." in shown.text
    assert f"{ATTACK} 1.png" in shown.images
    assert shown.scroll_width <= 390
    assert b"<script" not in page.read_bytes()


def test_pictures_of_an_earlier_report_are_removed(model: OpenedModel, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write_report(folder, report_files(model, outputs(tmp_path), some_map(), tmp_path))
    (folder / "notes.txt").write_text("notes")
    right = [ROWS[0], ROWS[4]]
    page = write_report(folder, report_files(model, outputs(tmp_path, right), "for a reason", tmp_path))
    expected = {"report.html", "report.json", "confusion.png", "reliability.png", "notes.txt"}
    assert {file.name for file in folder.iterdir()} == expected
    text = page.read_text()
    assert text.count("<p>None.</p>") == 2 and "No feature map: for a reason." in text


def test_model_with_one_head_has_no_disagreements(model: OpenedModel, tmp_path: Path, browser: Browser) -> None:
    two_heads = outputs(tmp_path)
    one_head = replace(two_heads, text_logits=None, probabilities=np.exp(two_heads.label_logits))
    page = write_report(tmp_path / "out", report_files(replace(model, head="label"), one_head, "x", tmp_path))
    shown = show(browser, page)
    assert (shown.broken, shown.complaints) == ([], [])
    assert "disagree" not in shown.text and "text head" not in shown.text


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FerEdgeError, match=r"cannot make the folder .*file: File exists; name another one"):
        make_folder(tmp_path / "file")


def test_features_are_the_input_of_the_text_head() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    for token in ("steering", "class"):
        runner = PyTorchRunner(tiny_checkpoint(text_token=token))
        head = runner.model.text_head
        assert head is not None
        with torch.no_grad():
            expected = F.normalize(torch.from_numpy(runner.features(images)), dim=-1) @ head.fold()
        text_logits = runner.infer(images).text_logits
        assert text_logits is not None
        np.testing.assert_allclose(text_logits, expected, rtol=1e-5, atol=1e-5)
    alone = PyTorchRunner(tiny_checkpoint(text_head=False))
    weight, bias = (parameter.detach().numpy() for parameter in alone.model.label_head.parameters())
    expected = alone.features(images) @ weight.T + bias
    np.testing.assert_allclose(alone.infer(images).label_logits, expected, rtol=1e-5, atol=1e-5)


def test_feature_map_samples_images_and_names_its_token(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for index in range(20):
        Image.fromarray(random.integers(0, 256, (48, 48), dtype=np.uint8)).save(tmp_path / f"{index:02d}.png")
    images = ImageSet(tuple(sorted(tmp_path.glob("*.png"))), np.arange(20) % 3)
    done: list[int] = []
    features = feature_map(PyTorchRunner(tiny_checkpoint()), images, done.append, max_points=12)
    assert (features.token, features.points.shape, sum(done)) == ("steering", (12, 2), 12)
    assert images.labels is not None
    np.testing.assert_array_equal(features.true, images.labels[sample(20, 12)])
    again = feature_map(PyTorchRunner(tiny_checkpoint()), images, max_points=12)
    np.testing.assert_array_equal(features.points, again.points)
    assert feature_map(PyTorchRunner(tiny_checkpoint(text_head=False)), images).token == "class"


def test_similar_features_are_neighbours() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.eye(3, 8, dtype=np.float32), 40, axis=0) + random.normal(0, 0.05, (120, 8)).astype(np.float32)
    points = embed(groups).reshape(3, 40, 2)
    middles = points.mean(axis=1)
    spread = np.linalg.norm(points - middles[:, None], axis=2).max()
    assert min(np.linalg.norm(middles[a] - middles[b]) for a, b in ((0, 1), (0, 2), (1, 2))) > 2 * spread
    np.testing.assert_array_equal(embed(groups), points.reshape(120, 2))


def test_too_few_distinct_features_are_refused() -> None:
    with pytest.raises(DataError, match=f"2 distinct features; a map needs at least {MIN_POINTS}"):
        embed(np.repeat(np.eye(2, 4, dtype=np.float32), 30, axis=0))
    np.testing.assert_array_equal(sample(5, 10), np.arange(5))
    chosen = sample(1000, 10)
    assert len(set(chosen.tolist())) == 10 and sorted(chosen.tolist()) == chosen.tolist()


def test_reference_is_the_checkpoint_of_the_bundle(tmp_path: Path) -> None:
    source, other = tmp_path / "source.safetensors", tmp_path / "other.safetensors"
    tiny_checkpoint().save(source)
    tiny_checkpoint(seed=1).save(other)
    opened = open_model(source)
    assert open_reference(opened, source).info.labels == opened.labels
    with pytest.raises(CheckpointError, match=r"was built from another checkpoint than .*other\.safetensors"):
        open_reference(opened, other)
    with pytest.raises(CheckpointError, match="was built from another checkpoint"):
        open_reference(open_model(tiny_bundle(tmp_path / "tiny.fer")), source)  # its labels differ
