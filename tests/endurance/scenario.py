"""Scenario of the sweep, its inputs, and its ways to run a command or a function of the Python API."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import skimage.data
from PIL import Image

from fer_edge.cli import entry
from tests.endurance.faults import FILE_FAULTS, Fault
from tests.tiny import tiny_bundle


def _nothing(path: Path) -> bool:
    return False


@dataclass(frozen=True)
class Scenario:
    """Use of files or sockets, whose calls fail in turns.

    Attributes:
        name: Name.
        prepare: Function that writes the inputs and the old outputs into a folder.
        run: Function that runs in a copy of this folder, and returns the exit status.
        written: Relative paths of the outputs; each is complete after a success, and as before after a failure.
        check: Function that raises an error if the outputs of a success are incomplete.
        may_remain: Function that returns True for an output that may remain after a failure.
        faults: Kinds of faults.
    """

    name: str
    prepare: Callable[[Path], object]
    run: Callable[[Path], int]
    written: frozenset[str] = frozenset()
    check: Callable[[Path], object] = lambda folder: None
    may_remain: Callable[[Path], bool] = _nothing
    faults: tuple[Fault, ...] = FILE_FAULTS


def command(*arguments: object) -> int:
    """Run a command of fer-edge in this process, and return its exit status."""
    sys.argv = ["fer-edge", *map(str, arguments)]
    return entry.run_command()


def calling(function: Callable[[Path], object]) -> Callable[[Path], int]:
    """Return a use of the Python API in a folder; its error is printed as one of a command."""

    def use(folder: Path) -> int:
        def run(arguments: list[str]) -> int:
            function(folder)
            return 0

        with mock.patch("fer_edge.cli.main.run", run):
            return entry.run_command()

    return use


def _face() -> Image.Image:
    return Image.fromarray(skimage.data.astronaut()).crop((165, 70, 285, 190))


def bundle_and_photo(folder: Path) -> None:
    """Write a bundle, and a photograph of a face."""
    tiny_bundle(folder / "tiny.fer")
    _face().save(folder / "face.png")


def bundle_and_photos(folder: Path) -> None:
    """Write a bundle, and a folder of three photographs."""
    tiny_bundle(folder / "tiny.fer")
    (folder / "photos").mkdir()
    for number in range(3):
        _face().rotate(5 * number).save(folder / "photos" / f"{number}.png")
