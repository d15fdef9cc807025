"""FERPlus: votes, boxes and invalid tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fer_edge.data.layouts.ferplus import is_ferplus, read_ferplus
from fer_edge.data.targets import majority_labels
from fer_edge.errors import DataError


@pytest.mark.parametrize(
    ("votes", "label"),
    [
        ([10, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0),
        ([0, 6, 4, 0, 0, 0, 0, 0, 0, 0], 1),
        ([5, 5, 0, 0, 0, 0, 0, 0, 0, 0], -1),  # exactly half is no majority
        ([5, 4, 1, 0, 0, 0, 0, 0, 0, 0], 0),  # a single vote counts as 0 votes
        ([2, 0, 0, 0, 0, 0, 0, 0, 8, 0], -1),  # unknown
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 10], -1),  # no face
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], -1),
    ],
)
def test_majority_matches_labels_by_hand(votes: list[int], label: int) -> None:
    assert majority_labels(np.array([votes])).tolist() == [label]


def test_invalid_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected FERPlus's layout"):
        read_ferplus(tmp_path, "valid")
    table = tmp_path / "FER2013Valid" / "label.csv"
    table.parent.mkdir()
    table.write_text('a.png,"(0, 0, 48, 48)",1,2,3\n')
    with pytest.raises(DataError, match="line 1: expected an image name, a box and 10 vote counts"):
        read_ferplus(tmp_path, "valid")
    table.write_text('a.png,"(0, 0, 48, 48)",x,0,0,0,0,0,0,0,0,0\n')
    with pytest.raises(DataError, match="line 1: votes are not numbers"):
        read_ferplus(tmp_path, "valid")
    table.write_text('../a.png,"(0, 0, 48, 48)",1,0,0,0,0,0,0,0,0,0\n')
    with pytest.raises(DataError, match="line 1"):
        read_ferplus(tmp_path, "valid")
    table.write_text('a.png,"(0, 0, 48, 48)",1000000000000000000000000,0,0,0,0,0,0,0,0,0\n')
    with pytest.raises(DataError, match="line 1: expected an image name, a box and 10 vote counts"):
        read_ferplus(tmp_path, "valid")
    table.write_bytes(b'caf\xe9.png,"(0, 0, 48, 48)",1,0,0,0,0,0,0,0,0,0\n')
    with pytest.raises(DataError, match=r"label\.csv is not UTF-8 text: .*; save it as UTF-8, or name another file"):
        read_ferplus(tmp_path, "valid")
    table.write_text('a.png,"' + "0" * 200_000 + '"\n')
    with pytest.raises(DataError, match=r"label\.csv is not a valid CSV file: .*; get the file again"):
        read_ferplus(tmp_path, "valid")
    table.write_text("")
    with pytest.raises(DataError, match="lists no image"):
        read_ferplus(tmp_path, "valid")


def write_split(root: Path, *boxes: str) -> Path:
    """Write a validation split with one image for each box."""
    folder = root / "FER2013Valid"
    folder.mkdir(exist_ok=True)
    lines = [f'{index}.png,"{box}",9,0,0,0,0,0,0,0,0,0' for index, box in enumerate(boxes)]
    (folder / "label.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    return root


def test_boxes_within_the_image_are_read(tmp_path: Path) -> None:
    whole = "(0, 0, 48, 48)"
    assert read_ferplus(write_split(tmp_path, whole, whole, ""), "valid").boxes is None
    split = read_ferplus(write_split(tmp_path, "(12, 12, 36, 40)", whole, "-2,0,40.5,48"), "valid")
    assert split.boxes == ((12, 12, 24, 28), None, (-2, 0, 42.5, 48))
    assert split.paths[0].name == "0.png"  # after a byte order mark


@pytest.mark.parametrize("box", ["(12, 12, 36)", "(36, 12, 12, 36)", "(1, 2, 3, nan)", "whole", "(0, 0, 0, 0)"])
def test_invalid_boxes_are_refused_with_file_and_line(box: str, tmp_path: Path) -> None:
    expected = r"label\.csv, line 2: the box is .*; expected \(left, top, right, bottom\) in pixels"
    with pytest.raises(DataError, match=expected):
        read_ferplus(write_split(tmp_path, "(0, 0, 48, 48)", box), "valid")


@pytest.mark.data
def test_majority_protocol_counts_3191_validation_images(ferplus: Path) -> None:
    assert is_ferplus(ferplus)
    valid = read_ferplus(ferplus, "valid")
    assert len(valid.paths) == 3579
    assert valid.votes is not None
    assert (majority_labels(valid.votes) >= 0).sum() == (valid.required_labels >= 0).sum() == 3191
