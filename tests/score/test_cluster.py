"""Scoring on a Ray cluster of three local nodes; `scripts/test-ray` installs Ray."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from fer_edge.errors import ConfigError, EngineError, EngineUnavailableError
from fer_edge.score.run import score
from fer_edge.score.shards import MAX_ERROR, count_attempt
from tests.score.conftest import png, write_tar

IMAGES = 600
# The object store has the least size that Ray accepts.
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}

try:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
except ImportError:
    ray = None
needs_ray = pytest.mark.skipif(ray is None, reason="needs Ray: scripts/test-ray installs it")
pytestmark = pytest.mark.filterwarnings("ignore")  # of Ray


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Return a cluster of one node on this machine; tests add others."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.slow
@needs_ray
def test_killed_node_loses_and_doubles_no_row(cluster: Any, bundle: Path, tmp_path: Path) -> None:
    nodes = [cluster.add_node(**NODE) for _ in range(2)]
    archive = write_tar(tmp_path / "images.tar", dict.fromkeys((f"{index:04}.png" for index in range(IMAGES)), png()))
    out = tmp_path / "scores"

    def kill() -> None:
        while len(list(out.glob("part-*"))) < 5:
            time.sleep(0.05)
        cluster.remove_node(nodes[0], allow_graceful=False)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    result = score(archive, out, bundle=bundle, ray=cluster.address, crop=True, engine="onnxruntime", shard=20)
    thread.join()
    assert result.passed and result.images == IMAGES and len(list(out.glob("part-*"))) == IMAGES // 20
    items = sorted(parquet.read_table(out)["item"].to_pylist())
    assert items == [f"{index:04}.png" for index in range(IMAGES)]
    assert not list(out.glob(".attempts-*")), "no shard is left"
    again = score(archive, out, bundle=bundle, ray=cluster.address, crop=True, engine="onnxruntime", shard=20)
    assert (again.present, again.rate, again.images) == (30, 0, IMAGES)


@needs_ray
def test_address_without_a_cluster_is_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    with pytest.raises(EngineError, match=r"no Ray cluster at 127\.0\.0\.1:9"):
        score(tmp_path / "a.png", tmp_path / "out", bundle=bundle, ray="127.0.0.1:9", crop=True, engine="onnxruntime")
    with pytest.raises(ConfigError, match="the Ray cluster is 'local'; expected host:port, or auto"):
        score(tmp_path / "a.png", tmp_path / "out", bundle=bundle, ray="local", crop=True, engine="onnxruntime")


def test_missing_ray_is_an_error_with_the_command(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "a.png").write_bytes(png())
    with pytest.raises(EngineUnavailableError, match=r'pip install "fer-edge\[ray\]"'):
        score(tmp_path / "a.png", tmp_path / "out", bundle=bundle, ray="auto", crop=True, engine="onnxruntime")


def test_attempts_are_counted_across_processes(bundle: Path, tmp_path: Path) -> None:
    from fer_edge import __version__
    from fer_edge.score.cluster import ShardActor
    from fer_edge.score.pool import WorkerSettings
    from tests.score.test_scorer import make_plan

    (tmp_path / "a.png").write_bytes(png())
    make_plan(tmp_path, bundle, tmp_path / "a.png")
    settings = WorkerSettings(tmp_path, bundle, 1, False)
    assert [count_attempt(tmp_path, 0) for _ in range(3)] == [1, 2, 3]
    row = ShardActor(settings, __version__)({"shard": [0]})
    assert row["error"] == ["3 actors died during it"] and not list(tmp_path.glob("part-*"))
    (tmp_path / ".attempts-000000").unlink()
    actor = ShardActor(settings, __version__)
    first = actor({"shard": [0]})
    changed = (tmp_path / "part-000000.parquet").stat().st_mtime_ns
    assert first["summary"][0] and actor({"shard": [0]}) == first
    assert (tmp_path / "part-000000.parquet").stat().st_mtime_ns == changed, "a shard with a file is not scored again"
    (failure,) = ShardActor(settings, "9.9")({"shard": [0]})["failure"]
    assert failure.endswith("expected 9.9, the version of the driver") and len(failure) < MAX_ERROR
