"""Which layers to keep in float: each layer's sensitivity, then the fewest that keep accuracy within a budget.

First every layer is int8 alone, all others float, and the divergence of probabilities tells how much it harms. Then
all are int8 together; while accuracy drops by more than the budget, the layer that harms most goes back to float.
Beyond that, the curve of harm piling up is measured at some points, for people to judge the budget by. Every
measurement is written down as it is made, so that a search that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fer_edge._files import sha256, write_atomically
from fer_edge._settings import convert
from fer_edge.calibration.graph import Graph
from fer_edge.calibration.qdq import chosen_layers, quantize_graph
from fer_edge.calibration.ranges import Ranges
from fer_edge.calibration.score import Score
from fer_edge.errors import ConfigError, DataError, FerEdgeError, NonFiniteError

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Step:
    """All layers int8 but for some."""

    kept: tuple[str, ...]
    score: Score


@dataclass(frozen=True)
class SearchResult:
    """What was measured, and what came of it."""

    max_drop: float
    alone: dict[str, Score]  # layer -> only this one int8, in the graph's order
    together: tuple[Step, ...]  # none kept, one kept, ... ; the last one is the outcome
    beyond: tuple[Step, ...]  # 1, 2, 4, ... kept, where that is more than the outcome
    macs: dict[str, int]  # layer -> multiplications for one image

    @property
    def kept(self) -> tuple[str, ...]:
        """Layers that stay in float."""
        return self.together[-1].kept

    @property
    def met(self) -> bool:
        """Whether the budget was met before no layer was left."""
        return self.together[-1].score.drop <= self.max_drop


def find_float_layers(
    model: bytes,
    ranges: Ranges,
    score: Callable[[bytes], Score],
    max_drop: float,
    *,
    state: Path | None = None,
    key: str = "",
    progress: Callable[[int], None] | None = None,
) -> SearchResult:
    """Search.

    Args:
        model: The float deploy graph.
        ranges: Of its activations; layers they keep already are left out.
        score: Measures an int8 graph.
        max_drop: Largest drop of accuracy, in points.
        state: File that measurements are kept in; one of the same model, ranges and images is gone on with.
        key: What else measurements depend on: images and engine.
        progress: Told of each layer measured alone.

    Raises:
        ConfigError: `max_drop` is negative or no finite number.
        DataError: The state is of another search.
        NonFiniteError: A measurement is NaN or infinite.
    """
    if not (math.isfinite(max_drop) and max_drop >= 0):
        raise ConfigError(f"max_drop is {max_drop}; expected a finite number of points from 0")
    layers = chosen_layers(Graph.parse(model), ranges)
    names = [layer.name for layer in layers]
    notes = _Notes.open(state, sha256(f"{sha256(model)} {ranges.sha256()} {key}".encode()))
    for name in names:
        alone = replace(ranges, kept=(*ranges.kept, *(other for other in names if other != name)))
        notes.measure(f"alone {name}", lambda alone=alone: score(quantize_graph(model, alone)))  # type: ignore[misc]
        if progress is not None:
            progress(1)
    scores = {name: notes.scores[f"alone {name}"] for name in names}
    order = sorted(names, key=lambda name: -scores[name].divergence)  # stable: equal ones in the graph's order

    def keep(count: int) -> Step:
        kept = (*ranges.kept, *order[:count])
        return Step(
            kept, notes.measure(f"kept {count}", lambda: score(quantize_graph(model, replace(ranges, kept=kept))))
        )

    together = [keep(0)]
    while together[-1].score.drop > max_drop and len(together) < len(order):
        together.append(keep(len(together)))
    beyond = [keep(2**power) for power in range(len(order).bit_length()) if len(together) <= 2**power < len(order)]
    macs = {layer.name: layer.macs for layer in layers}
    return SearchResult(max_drop, scores, tuple(together), tuple(beyond), macs)


class _Notes:
    """Measurements, on disk where there is a file for them."""

    def __init__(self, path: Path | None, key: str, scores: dict[str, Score]) -> None:
        self.path, self.key, self.scores = path, key, scores

    @classmethod
    def open(cls, path: Path | None, key: str) -> _Notes:
        if path is None or not path.exists():
            return cls(path, key, {})
        try:
            data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            found = convert(data["scores"], dict[str, Score], "scores")
            same = (data["format"], data["key"]) == (FORMAT_VERSION, key)
        except (OSError, ValueError, TypeError, KeyError, RecursionError, FerEdgeError) as error:
            raise DataError(f"{path} holds no search that can be gone on with: {error!r}; remove it") from error
        if not same:
            raise DataError(
                f"{path} is of a search with another model, other ranges or images; remove it, or name another file"
            )
        return cls(path, key, found)

    def measure(self, name: str, call: Callable[[], Score]) -> Score:
        """What was noted, or else what is measured now.

        Raises:
            NonFiniteError: A figure is NaN or infinite; it is not noted.
        """
        if name not in self.scores:
            score = call()
            wrong = [figure for figure, value in asdict(score).items() if not math.isfinite(value)]
            if wrong:
                raise NonFiniteError(
                    f"the {wrong[0]} of the int8 graph with {name} is NaN or infinite: the engine's outputs are no "
                    "numbers; take another --engine or another --method"
                )
            self.scores[name] = score
            if self.path is not None:
                plain = {"format": FORMAT_VERSION, "key": self.key, "scores": _plain(self.scores)}
                write_atomically(self.path, json.dumps(plain, indent=1).encode())
        return self.scores[name]


def _plain(scores: dict[str, Score]) -> dict[str, dict[str, float]]:
    return {name: asdict(score) for name, score in scores.items()}
