from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_edge import FaceDetector, bench
from fer_edge.benchmark.drawn_face import LOOP, draw_frames
from fer_edge.benchmark.scenarios.frames import SCENARIO
from tests.networks import require_networks
from tests.tiny import tiny_bundle


@pytest.fixture(scope="module", autouse=True)
def networks() -> None:
    require_networks()


def test_drawn_faces_are_found() -> None:
    with FaceDetector.open() as detector:
        for count in (1, 5):
            frames = draw_frames(count)
            assert len(frames) == LOOP and frames[0].shape == (480, 640, 3)
            for frame in frames[:: LOOP // 2]:
                assert len(detector.detect(frame)) == count


def test_frames_of_several_faces_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer_edge.benchmark.scenarios.frames.COUNTS", (2,))
    monkeypatch.setattr("fer_edge.benchmark.scenarios.frames.WARM_UP", 12)
    report = bench(tiny_bundle(tmp_path / "a.fer", max_batch=2), scenarios=["frames"], seconds=0.2, threads=1)
    (run,) = report.frames
    assert (run.faces, run.width, run.height, run.frames) == (2, 640, 480, 6)
    assert run.latency.count <= 6 and run.cpu_share > 0 and 0 < run.fresh_share <= 1
    assert list(run.parts) == ["search", "mesh", "crops", "model"]
    assert "parts alone" in str(report) and SCENARIO.tiles([run])[0][0] == "p99 of a frame, faces: 2"


def test_image_without_a_face_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((90, 120, 3), 90, np.uint8)).save(tmp_path / "wall.png")
    report = bench(tiny_bundle(tmp_path / "a.fer"), scenarios=["frames"], seconds=0.2, image=tmp_path / "wall.png")
    assert report.failed["frames"].endswith("wall.png; name a photograph with one, or omit it: faces are drawn")
