"""`fer-edge ablate`: tables, CSV file, repeated calls."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from fer_edge.labels import FERPLUS
from fer_edge.model.checkpoint import load_checkpoint
from fer_edge.model.text import TextFeatures, save_text_features
from tests.cli.test_train import TINY
from tests.command import fer_edge
from tests.synthetic import make_ferplus

SETTINGS = [
    *TINY[TINY.index("--set") :],
    *("--set", "model.heads=2", "--epochs", "1", "--set", "batch=8", "--threads", "1", "--json"),
]


def read_table(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_table_is_trained_once_and_saved_as_csv(tmp_path: Path) -> None:
    faces, out = make_ferplus(tmp_path / "ferplus"), tmp_path / "ablations"
    features = TextFeatures(torch.eye(8, 12), FERPLUS.words, ("{}",), "file:a")
    save_text_features(tmp_path / "t.safetensors", features)  # for the variants with a text head
    command = ["ablate", faces, "-o", out, "--text-features", tmp_path / "t.safetensors", *SETTINGS]
    first = fer_edge(*command, "--table", "IV")
    assert first.returncode == 0, first.stderr
    rows = json.loads(first.stdout)["runs"]
    assert [row["variant"] for row in rows] == ["neither", "MGEI", "HDSS", "MGEI and HDSS"]
    assert rows[3]["paper"] == [91.3, 90.96] and rows[3]["validation_images"] == 12
    table = read_table(out)
    assert [float(row["accuracy"]) for row in table] == [row["accuracy"] for row in rows]
    assert table[0]["paper_ferplus"] == "90.07"
    best = load_checkpoint(out / "iv-mgei-and-hdss-seed0" / "best.safetensors")
    assert best.info.text_source == "file:a"
    again = fer_edge(*command, "--table", "IV")
    assert json.loads(again.stdout)["runs"] == rows
    assert "epoch 1:" in first.stderr and "epoch 1:" not in again.stderr
    assert fer_edge(*command, "--table", "VI").returncode == 0
    both = read_table(out)
    assert [row for row in both if row["table"] == "IV"] == table and len(both) == 4 + 6
    wrong = fer_edge(*command, "--table", "IV", "--table", "V")
    assert wrong.returncode == 2 and "--set text=frozen" in wrong.stderr and "Traceback" not in wrong.stderr
