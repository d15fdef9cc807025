"""Score many face crops on a Ray cluster of three local nodes, and kill one of them in the middle.

    scripts/test-ray --collect-only -q  # makes build/ray
    PYTHONPATH=. build/ray/bin/python benchmarks/score_on_ray.py FACES --count 200000

FACES is a folder of face crops, which are repeated up to the number of images in one tar archive. Prints the time of
the run on the cluster, and checks that each image has exactly one row. With `--workers`, the same images are scored by
worker processes first, for comparison.
"""

from __future__ import annotations

import argparse
import os
import tarfile
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from pyarrow import parquet

from fer_edge.score.run import ScoreResult, score
from fer_edge.walk import find_images

# Settings of each node; the object store, in bytes, is the smallest that Ray accepts.
NODE: dict[str, Any] = {"object_store_memory": 80 << 20, "include_dashboard": False}


def write_archive(path: Path, faces: Sequence[Path], count: int) -> Path:
    """Write an archive of `count` members, with the faces in turns."""
    with tarfile.open(path, "w") as archive:
        for index in range(count):
            archive.add(faces[index % len(faces)], f"{index:07}.png")
    return path


def start_cluster(cpus: int) -> Any:
    """Start a Ray cluster of one node on this machine, and return it."""
    from ray.cluster_utils import Cluster

    return Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, **NODE})


def kill_in_the_middle(cluster: Any, node: Any, out: Path, shards: int) -> None:
    """Kill a node when half of the shards are written."""
    while len(list(out.glob("part-*"))) < shards // 2:
        time.sleep(0.2)
    print(f"killing a node at {len(list(out.glob('part-*')))} of {shards} shards", flush=True)
    cluster.remove_node(node, allow_graceful=False)


def report(name: str, result: ScoreResult, out: Path, count: int) -> None:
    """Print the time of a run, after a check of its rows."""
    items = parquet.read_table(out, columns=["item"])["item"].to_pylist()
    assert sorted(items) == [f"{index:07}.png" for index in range(count)], "rows are missing or doubled"
    print(f"{name}: {len(items)} rows, each image once, {result.seconds:.1f} s, {result.rate:.0f} images/s", flush=True)


def main() -> None:
    """Run, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, help="folder of face crops")
    parser.add_argument("--count", type=int, default=200_000, help="number of images; default: 200000")
    parser.add_argument("--shard", type=int, default=4096, help="images of a shard; default: 4096")
    parser.add_argument("--workers", type=int, help="number of worker processes of the run before; default: none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = write_archive(folder / "faces.tar", find_images(options.faces).paths, options.count)
        if options.workers:
            out = folder / "processes"
            result = score(archive, out, crop=True, shard=options.shard, workers=options.workers)
            report(f"{options.workers} worker processes", result, out, options.count)
        cluster = start_cluster(1)
        victim, _ = (cluster.add_node(num_cpus=1, **NODE) for _ in range(2))
        out, shards = folder / "cluster", -(-options.count // options.shard)
        threading.Thread(target=kill_in_the_middle, args=(cluster, victim, out, shards), daemon=True).start()
        result = score(archive, out, crop=True, shard=options.shard, ray=cluster.address)
        report("Ray, three nodes, one killed", result, out, options.count)
        cluster.shutdown()


if __name__ == "__main__":
    main()
