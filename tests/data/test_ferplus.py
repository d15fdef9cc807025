"""Votes to targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fer_edge.data.ferplus import is_ferplus, majority_labels, read_ferplus, vote_distributions
from fer_edge.errors import DataError


@pytest.mark.parametrize(
    ("votes", "label"),
    [
        ([10, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0),
        ([0, 6, 4, 0, 0, 0, 0, 0, 0, 0], 1),
        ([5, 5, 0, 0, 0, 0, 0, 0, 0, 0], -1),  # no more than half
        ([5, 4, 1, 0, 0, 0, 0, 0, 0, 0], 0),  # the single vote counts as none
        ([2, 0, 0, 0, 0, 0, 0, 0, 8, 0], -1),  # unknown
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 10], -1),  # no face
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], -1),
    ],
)
def test_majority_by_hand(votes: list[int], label: int) -> None:
    assert majority_labels(np.array([votes])).tolist() == [label]


def test_distributions_by_hand() -> None:
    votes = np.array([[6, 2, 1, 0, 0, 0, 0, 0, 1, 0], [2, 0, 0, 0, 0, 0, 0, 0, 8, 0], [0] * 10])
    found = vote_distributions(votes)
    np.testing.assert_allclose(found[0], [0.75, 0.25, 0, 0, 0, 0, 0, 0])
    assert not found[1:].any()


def test_broken_tables_are_named(tmp_path: Path) -> None:
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
    with pytest.raises(DataError, match=r"label\.csv is no table of comma-separated values: .*; get the file again"):
        read_ferplus(tmp_path, "valid")
    table.write_text("")
    with pytest.raises(DataError, match="names no image"):
        read_ferplus(tmp_path, "valid")


@pytest.mark.data
def test_the_protocol_leaves_3191_validation_images(ferplus: Path) -> None:
    assert is_ferplus(ferplus)
    valid = read_ferplus(ferplus, "valid")
    assert len(valid.paths) == 3579
    assert valid.votes is not None
    assert (majority_labels(valid.votes) >= 0).sum() == (valid.labels >= 0).sum() == 3191
