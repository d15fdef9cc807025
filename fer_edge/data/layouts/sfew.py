"""SFEW 2.0: folders Train and Val, each with one folder for each of its seven classes (Dhall et al., ICCVW 2011)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from fer_edge.data.layouts import Layout
from fer_edge.data.layouts.folders import read_folders, split_folder
from fer_edge.labels import SFEW, comparable
from fer_edge.walk import list_folders


def is_sfew(root: Path) -> bool:
    """Return whether `root` has SFEW's folders: Train and Val, with its seven classes."""
    train = split_folder(root, "train")
    return train is not None and {comparable(folder.name) for folder in list_folders(train)} == set(SFEW.words)


LAYOUT = Layout(
    "sfew",
    "Train and Val, each with the folders Angry to Surprise",
    is_sfew,
    partial(read_folders, labels=SFEW, name="SFEW 2.0"),
    rank=2,
)
