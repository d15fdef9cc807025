"""Scoring of shards, in the process of the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

import fer_edge
from fer_edge._files import file_sha256
from fer_edge.errors import DataError, FerEdgeError
from fer_edge.rows import columns
from fer_edge.score.inputs import list_sources
from fer_edge.score.plan import Settings, open_plan
from fer_edge.score.scorer import Scorer
from fer_edge.score.shards import read_summary, shard_path, write_damaged
from tests.score.conftest import png
from tests.tiny import LABELS


def make_plan(folder: Path, bundle: Path, source: Path, *, crop: bool = True, shard: int = 100) -> None:
    settings = Settings(file_sha256(bundle), "tiny", "onnxruntime", LABELS, crop, "fast", 10**6, shard)
    open_plan(folder, settings, list_sources([source], folder, None, None).items)


def test_crops_of_each_source(mixture: Path, bundle: Path, tmp_path: Path) -> None:
    make_plan(tmp_path, bundle, mixture)
    advances: list[int] = []
    with Scorer(tmp_path, bundle, 1, False) as scorer:
        summary = scorer.score(0, advances.append)
        assert read_summary(tmp_path, 0, scorer.plan.digest) == summary
        assert read_summary(tmp_path, 0, "other") is read_summary(tmp_path, 1, scorer.plan.digest) is None
        assert sum(advances) == scorer.plan.weights[0]
        part = shard_path(tmp_path, 0)
        content = part.read_bytes()
        part.write_bytes(content[:-100])
        assert read_summary(tmp_path, 0, scorer.plan.digest) is None, "a damaged shard is scored again"
        part.write_bytes(content)
    table = parquet.read_table(tmp_path)  # files with an underscore are not data
    rows = table.to_pylist()
    assert set(columns(LABELS)) <= set(table.column_names)
    assert [(Path(row["source"]).name, row["item"], row["frame"]) for row in rows] == [
        ("a.png", None, None),
        ("bytes.parquet", "0", None),
        *(("clip.mp4", None, frame) for frame in range(3)),
        ("samples.tar", "0.png", None),
        ("samples.tar", "../../1.jpg", None),
    ]
    assert (summary.images, summary.faces, summary.without_face, summary.version) == (7, 7, 0, fer_edge.__version__)
    (result,) = fer_edge.predict(mixture / "a.png", bundle=bundle, crop=True, engine="onnxruntime", threads=1)
    (person,) = result.to_dict()["people"]
    first = rows[0]
    assert first["label"] == person["expression"]["label"] and first["x"] is first["person"] is first["time"] is None
    assert np.allclose([first[f"p_{label}"] for label in LABELS], [*person["expression"]["scores"].values()], atol=1e-4)
    assert first["quality_width"] == person["quality"]["width"] == 120 and first["quality_presence"] is None
    assert {row["model"] for row in rows} == {file_sha256(bundle)}
    assert [row["time"] for row in rows[2:5]] == [0, 0.04, 0.08]
    write_damaged(tmp_path, summary.damaged)
    lines = (tmp_path / "_damaged.csv").read_text().splitlines()
    assert [line.split(",")[0].rpartition("/")[2] for line in lines] == [
        "source", "bytes.parquet", "bytes.parquet", "damaged.png", "paths.parquet", "paths.parquet", "samples.tar",
    ]  # fmt: skip
    assert lines[2].endswith(",2,row 2 has no image") and lines[3].endswith(
        'its end is missing; copy or download it again"'
    )


@pytest.mark.usefixtures("networks")
def test_faces_of_photographs_and_videos(mixture: Path, bundle: Path, tmp_path: Path) -> None:
    make_plan(tmp_path, bundle, mixture / "clip.mp4", crop=False)
    with Scorer(tmp_path, bundle, 1, False) as scorer:
        assert scorer.score(0).faces == 3
    rows = parquet.read_table(shard_path(tmp_path, 0)).to_pylist()
    assert [(row["person"], row["frame"], row["fresh"]) for row in rows] == [(1, 0, True), (1, 1, True), (1, 2, True)]
    assert all(row["quality_presence"] > 0.9 and row["width"] > 80 for row in rows)


def test_batches_do_not_change_the_rows(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for turn in range(11):  # the bundle's largest batch is 8
        (tmp_path / "images" / f"{turn:02}.png").write_bytes(png(turn))
    tables = []
    for size in (1, 3, 100):
        folder = tmp_path / f"scores{size}"
        folder.mkdir()
        make_plan(folder, bundle, tmp_path / "images", shard=size)
        with Scorer(folder, bundle, 1, False) as scorer:
            assert sum(scorer.score(shard).faces for shard in range(scorer.plan.count)) == 11
        tables.append(parquet.read_table(folder))
    for table in tables[1:]:
        assert table["source"] == tables[0]["source"]
        for label in LABELS:
            assert np.allclose(table[f"p_{label}"], tables[0][f"p_{label}"], atol=1e-4)


def test_file_that_changes_into_a_pipe_or_vanishes_is_damaged(bundle: Path, tmp_path: Path) -> None:
    import os

    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / "images" / name).write_bytes(png())
    make_plan(tmp_path, bundle, tmp_path / "images")
    (tmp_path / "images" / "a.png").unlink()
    (tmp_path / "images" / "b.png").unlink()
    os.mkfifo(tmp_path / "images" / "b.png")
    with Scorer(tmp_path, bundle, 1, False) as scorer:
        summary = scorer.score(0)
    assert [damage.error.rpartition(" ")[2] for damage in summary.damaged] == ["directory", "image"]
    assert summary.faces == 1


def test_failed_shard_leaves_no_file(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    make_plan(tmp_path, bundle, tmp_path / "a.png")
    scorer = Scorer(tmp_path, bundle, 1, False)
    scorer.close()
    with pytest.raises(FerEdgeError):
        scorer.score(0)
    assert not [path for path in tmp_path.iterdir() if "part" in path.name]


def test_replaced_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    make_plan(tmp_path, bundle, tmp_path / "a.png")
    other = tmp_path / "other.fer"
    other.write_bytes(bundle.read_bytes() + b"\0")
    with pytest.raises(DataError, match="is not the bundle of the plan"):
        Scorer(tmp_path, other, 1, False)
