"""Search for float layers: on planted sensitivities, and interrupted."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.calibration.score import Score, Scorer, drop_interval
from fer_edge.calibration.sensitivity import SearchResult, find_float_layers
from fer_edge.data.images import ImageSet
from fer_edge.engines.base import RunOptions
from fer_edge.errors import ConfigError, DataError, NonFiniteError
from fer_edge.graph.qdq import chosen_layers
from fer_edge.graph.ranges import Ranges
from fer_edge.graph.typed_graph import TypedGraph, input_of, name_of
from tests.calibration.tiny_ranges import tiny_graph, tiny_images, tiny_ranges

SENSITIVITY = {"stem.blocks.1.conv1/Conv": 1.0, "blocks.0.fc1/MatMul": 0.5, "stem.input/Conv": 0.2}


def planted(graph: TypedGraph) -> Score:
    """Add up the drop of each layer in `SENSITIVITY` whose weight is int8."""
    weights = {name: name_of(input_of(graph.nodes[name], 1)) for name in SENSITIVITY}
    drop = sum(points for name, points in SENSITIVITY.items() if weights[name].endswith(".dequantized"))
    return Score(drop, 100 - drop, drop / 10)


def layers() -> list[str]:
    return [layer.name for layer in chosen_layers(tiny_graph(), tiny_ranges())]


def search(max_drop: float, state: Path | None = None, ranges: Ranges | None = None) -> SearchResult:
    return find_float_layers(tiny_graph(), ranges or tiny_ranges(), planted, max_drop, state=state)


def test_each_layer_is_measured_alone() -> None:
    alone = search(10).alone
    assert list(alone) == layers()
    assert {name: score.drop for name, score in alone.items() if score.drop} == SENSITIVITY


@pytest.mark.parametrize(
    ("max_drop", "float_layers"),
    [
        (2.0, []),
        (1.0, ["stem.blocks.1.conv1/Conv"]),
        (0.3, ["stem.blocks.1.conv1/Conv", "blocks.0.fc1/MatMul"]),
        (0.0, list(SENSITIVITY)),
    ],
)
def test_fewest_layers_return_to_float(max_drop: float, float_layers: list[str]) -> None:
    result = search(max_drop)
    assert list(result.float_layers) == float_layers
    assert result.met
    assert [len(step.float_layers) for step in result.together] == list(range(len(float_layers) + 1))
    assert [len(step.float_layers) for step in result.beyond] == [
        count for count in (1, 2, 4, 8, 16) if count > len(float_layers)
    ]


def test_float_layers_of_the_ranges_stay_in_float() -> None:
    result = search(0.4, ranges=replace(tiny_ranges(), float_layers=("stem.input/Conv",)))
    assert set(result.float_layers) == set(SENSITIVITY)
    assert "stem.input/Conv" not in result.alone


def test_unreachable_budget_is_not_met() -> None:
    result = find_float_layers(tiny_graph(), tiny_ranges(), lambda model: Score(1.0, 50.0, 0.1), 0.5)
    assert not result.met
    assert len(result.float_layers) == len(layers()) - 1


def test_interrupted_search_resumes_after_the_last_layer(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    calls: list[TypedGraph] = []

    class StopError(Exception):
        pass

    def score(model: TypedGraph) -> Score:
        if len(calls) == 7:
            raise StopError
        calls.append(model)
        return planted(model)

    with pytest.raises(StopError):
        find_float_layers(tiny_graph(), tiny_ranges(), score, 1.0, state=state)
    again: list[TypedGraph] = []

    def count(model: TypedGraph) -> Score:
        again.append(model)
        return planted(model)

    result = find_float_layers(tiny_graph(), tiny_ranges(), count, 1.0, state=state)
    assert len(calls) + len(again) == len(layers()) + len(result.together) + len(result.beyond)
    assert result == search(1.0)
    again.clear()
    find_float_layers(tiny_graph(), tiny_ranges(), count, 1.0, state=state)
    assert not again


KILLED = """
import sys, time
from pathlib import Path
from tests.calibration.test_sensitivity import planted
from tests.calibration.tiny_ranges import tiny_graph, tiny_ranges
from fer_edge.calibration.sensitivity import find_float_layers

def slow(model):
    print("measuring", flush=True)
    time.sleep(0.3)
    return planted(model)

find_float_layers(tiny_graph(), tiny_ranges(), slow, 1.0, state=Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_killed_process_loses_at_most_one_layer(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(state)], stdout=subprocess.PIPE, text=True, cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for _ in range(5):
            assert process.stdout.readline() == "measuring\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    again: list[TypedGraph] = []

    def count(model: TypedGraph) -> Score:
        again.append(model)
        return planted(model)

    result = find_float_layers(tiny_graph(), tiny_ranges(), count, 1.0, state=state)
    assert len(again) == len(layers()) + len(result.together) + len(result.beyond) - 4


def test_state_of_another_search_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    search(10, state)
    with pytest.raises(DataError, match=r"state\.json is of a search with another model, other ranges or images"):
        find_float_layers(tiny_graph(), tiny_ranges("mse"), planted, 10, state=state)
    wrong = '{"format": 1, "key": "", "scores": {"only x in int8": {"drop": "1", "agreement": 1, "divergence": 1}}}'
    for text in ("{", "[" * 100_000, "[]", '{"scores": 5}', wrong):
        state.write_text(text)
        with pytest.raises(
            DataError, match=r"the search in .*state\.json cannot be resumed: .*; delete it to start over"
        ):
            search(10, state)


def test_scores_compare_with_the_float_graph(tmp_path: Path) -> None:
    paths = tiny_images().faces.paths
    labels = np.arange(len(paths)) % 3
    scorer = Scorer(tiny_graph(), ImageSet(paths, labels), options=RunOptions(threads=1))
    same = scorer(tiny_graph())
    assert (same.drop, same.agreement, same.divergence) == (0, 100, 0)
    with pytest.raises(DataError, match="an accuracy budget needs labelled images"):
        Scorer(tiny_graph(), ImageSet(paths, None))


def test_search_is_plotted(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from fer_edge.calibration.workflow import plot_search

    for name in ("search.svg", "search.png"):
        (tmp_path / name).write_bytes(plot_search(search(0.3), Path(name).suffix))
        assert (tmp_path / name).stat().st_size > 5000


@pytest.mark.parametrize("figure", ["drop", "agreement", "divergence"])
def test_non_finite_measurement_stops_the_search_unsaved(figure: str, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    measured: list[TypedGraph] = []

    def score(model: TypedGraph) -> Score:
        measured.append(model)
        return planted(model) if len(measured) < 3 else replace(planted(model), **{figure: math.nan})

    with pytest.raises(NonFiniteError, match=f"the {figure} with only .* in int8 is NaN or infinite"):
        find_float_layers(tiny_graph(), tiny_ranges(), score, 1.0, state=state)
    assert len(json.loads(state.read_text())["scores"]) == 2
    find_float_layers(tiny_graph(), tiny_ranges(), planted, 1.0, state=state)  # resumes


@pytest.mark.parametrize("max_drop", [math.nan, math.inf, -0.1])
def test_non_finite_or_negative_budget_is_refused(max_drop: float) -> None:
    with pytest.raises(ConfigError, match=r"max_drop is .*; expected a finite number of points from 0"):
        find_float_layers(tiny_graph(), tiny_ranges(), planted, max_drop)


@given(changed=st.integers(0, 300), images=st.integers(300, 5000))
def test_interval_of_a_drop(changed: int, images: int) -> None:
    score = Score(drop=0.0, agreement=100 * (1 - changed / images), divergence=0.0)
    half = drop_interval(score, images)
    assert half >= 100 / images  # at least one image
    assert half == pytest.approx(max(1.0, 1.96 * changed**0.5) * 100 / images, rel=1e-3)
