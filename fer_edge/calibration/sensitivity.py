"""Search for float layers: the sensitivity of each layer, then the fewest float layers within an accuracy budget.

First, each layer alone is int8, with all others in float; the divergence of probabilities is its sensitivity. Then all
layers are int8, and while the accuracy drops by more than the budget, the most sensitive int8 layer returns to float.
Beyond the result, the drop is measured for some larger numbers of float layers, so that people can judge the budget.
Every measurement is saved at once: an interrupted search resumes where it stopped.
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
from fer_edge.calibration.score import Score
from fer_edge.errors import ConfigError, DataError, FerEdgeError, NonFiniteError
from fer_edge.graph.qdq import chosen_layers, quantize_graph
from fer_edge.graph.ranges import Ranges
from fer_edge.graph.typed_graph import TypedGraph
from fer_edge.progress import Advance, ignore

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Step:
    """Measurement with all layers in int8 except some."""

    float_layers: tuple[str, ...]
    score: Score


@dataclass(frozen=True)
class SearchResult:
    """Measurements of a search, and the float layers that it chose."""

    max_drop: float  # budget, in points
    alone: dict[str, Score]  # by layer: only this layer in int8; in the graph's order
    together: tuple[Step, ...]  # with 0, 1, 2, ... float layers; the last one is the result
    beyond: tuple[Step, ...]  # with 1, 2, 4, ... float layers, where these are more than the result's
    macs: dict[str, int]  # by layer: multiply-accumulates for one image

    @property
    def float_layers(self) -> tuple[str, ...]:
        """Layers that stay in float."""
        return self.together[-1].float_layers

    @property
    def met(self) -> bool:
        """True if the result is within the budget."""
        return self.together[-1].score.drop <= self.max_drop


def find_float_layers(
    graph: TypedGraph,
    ranges: Ranges,
    score: Callable[[TypedGraph], Score],
    max_drop: float,
    *,
    state: Path | None = None,
    key: str = "",
    unsigned: bool = False,
    progress: Advance = ignore,
) -> SearchResult:
    """Find the fewest layers that have to stay in float.

    Args:
        graph: The float deploy graph.
        ranges: Ranges of its activations; their float layers stay in float and are not measured.
        score: Function that measures an int8 graph.
        max_drop: Largest drop of accuracy, in points.
        state: File of the measurements; a search with the same model, ranges and key resumes from it.
        key: Identity of everything else that measurements depend on: images and engine.
        unsigned: Whether the engine accepts uint8 activations, as `quantize_graph` needs it; False by default.
        progress: Callback that receives 1 for each layer measured alone.

    Raises:
        ConfigError: Negative or non-finite `max_drop`.
        DataError: State file of another search.
        NonFiniteError: NaN or infinity in a measurement.
    """
    if not (math.isfinite(max_drop) and max_drop >= 0):
        raise ConfigError(f"max_drop is {max_drop}; expected a finite number of points from 0")
    layers = chosen_layers(graph, ranges, unsigned=unsigned)
    names = [layer.name for layer in layers]
    identity = f"{sha256(graph.to_bytes())} {ranges.sha256()} {unsigned} {key}"
    measurements = _SearchState.open(state, sha256(identity.encode()))

    def measure(name: str, float_layers: tuple[str, ...]) -> Score:
        return measurements.measure(
            name, lambda: score(quantize_graph(graph, replace(ranges, float_layers=float_layers), unsigned=unsigned))
        )

    alone: dict[str, Score] = {}
    for name in names:
        others = tuple(other for other in names if other != name)
        alone[name] = measure(f"only {name} in int8", (*ranges.float_layers, *others))
        progress(1)
    order = sorted(names, key=lambda name: -alone[name].divergence)  # stable: equal ones in the graph's order

    def measure_step(count: int) -> Step:
        float_layers = (*ranges.float_layers, *order[:count])
        return Step(float_layers, measure(f"{count} layers in float", float_layers))

    together = [measure_step(0)]
    while together[-1].score.drop > max_drop and len(together) < len(order):
        together.append(measure_step(len(together)))
    powers = [2**power for power in range(len(order).bit_length())]
    beyond = [measure_step(count) for count in powers if len(together) <= count < len(order)]
    return SearchResult(max_drop, alone, tuple(together), tuple(beyond), {layer.name: layer.macs for layer in layers})


class _SearchState:
    """Measurements of a search, also in a file if there is one."""

    def __init__(self, path: Path | None, key: str, scores: dict[str, Score]) -> None:
        self.path, self.key, self.scores = path, key, scores

    @classmethod
    def open(cls, path: Path | None, key: str) -> _SearchState:
        """Read the file of an earlier run, or start without measurements.

        Raises:
            DataError: Malformed file, or one of another search.
        """
        if path is None or not path.exists():
            return cls(path, key, {})
        try:
            data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            scores = convert(data["scores"], dict[str, Score], "scores")
            same = (data["format"], data["key"]) == (FORMAT_VERSION, key)
        except (OSError, ValueError, TypeError, KeyError, RecursionError, FerEdgeError) as error:
            raise DataError(f"the search in {path} cannot be resumed: {error!r}; delete it to start over") from error
        if not same:
            raise DataError(
                f"{path} is of a search with another model, other ranges or images; delete it, or name another file"
            )
        return cls(path, key, scores)

    def measure(self, name: str, call: Callable[[], Score]) -> Score:
        """Return a measurement of an earlier run, or measure now and save it.

        Raises:
            NonFiniteError: NaN or infinity in the measurement, which is not saved.
        """
        if name not in self.scores:
            score = call()
            invalid = [figure for figure, value in asdict(score).items() if not math.isfinite(value)]
            if invalid:
                raise NonFiniteError(
                    f"the {invalid[0]} with {name} is NaN or infinite, since the engine's outputs are; use another "
                    "--engine or another --method"
                )
            self.scores[name] = score
            if self.path is not None:
                scores = {saved: asdict(value) for saved, value in self.scores.items()}
                plain = {"format": FORMAT_VERSION, "key": self.key, "scores": scores}
                write_atomically(self.path, json.dumps(plain, indent=1).encode())
        return self.scores[name]
