"""`fer-edge ablate` on made-up faces."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from fer_edge.labels import FERPLUS
from fer_edge.model.checkpoint import load_checkpoint
from fer_edge.model.text import TextFeatures, save_text_features
from tests.cli.test_train import TINY, run
from tests.faces import make_ferplus

SETTINGS = [*TINY[TINY.index("--set") :], "--epochs", "1", "--set", "batch=8", "--threads", "1", "--json"]


@pytest.mark.slow
def test_a_table_is_trained_once_and_kept_as_csv(tmp_path: Path) -> None:
    faces, out = make_ferplus(tmp_path / "ferplus"), tmp_path / "ablations"
    features = TextFeatures(torch.eye(8, 12), FERPLUS.words, ("{}",), "file:a")
    save_text_features(tmp_path / "t.safetensors", features)  # for the variants that have a text head
    given = ["--text-features", str(tmp_path / "t.safetensors")]
    command = ["fer_edge", "ablate", str(faces), "-o", str(out), "--table", "IV", *given, *SETTINGS]
    first = run(command)
    assert first.returncode == 0, first.stderr
    rows = json.loads(first.stdout)["runs"]
    assert [row["variant"] for row in rows] == ["neither", "MGEI", "HDSS", "MGEI and HDSS"]
    assert rows[3]["paper"] == [91.3, 90.96] and rows[3]["validation_images"] == 12
    with (out / "table.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(row["accuracy"]) for row in table] == [row["accuracy"] for row in rows]
    assert table[0]["paper_ferplus"] == "90.07"
    best = load_checkpoint(out / "iv-mgei-and-hdss-seed0" / "best.safetensors")
    assert best.info.text_source == "file:a"
    again = run(command)
    assert json.loads(again.stdout)["runs"] == rows
    assert "epoch 1:" in first.stderr and "epoch 1:" not in again.stderr
    other = [*command, "--table", "VI"]
    other.remove("IV")
    other.remove("--table")
    assert run(other).returncode == 0
    with (out / "table.csv").open() as file:
        both = list(csv.DictReader(file))
    assert [row for row in both if row["table"] == "IV"] == table and len(both) == 4 + 6
    wrong = run([*command, "--table", "V"])
    assert wrong.returncode == 2 and "--set text=frozen" in wrong.stderr and "Traceback" not in wrong.stderr
