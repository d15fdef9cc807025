"""Measure the overhead of `fer-edge score` against a plain loop on the same face crops.

    python benchmarks/score.py FACES [--count 4096] [--workers 1]
    PYTHONPATH=. build/ray/bin/python benchmarks/score.py FACES --ray  # scripts/test-ray makes build/ray

FACES is a folder of face crops. Each run reads, decodes and recognises in batches of 32 with one thread, and writes
Parquet; the loop does it in one process without plan, shards, supervision and quality. `--ray` adds a run on a local
Ray cluster, which is started before, with one CPU for each worker and one for Ray itself.

Prints seconds, and CPU seconds of all processes except those of Ray, which are not children of this one. Each is
measured for a quarter of the images too: the difference of the two, divided by that of their images, is the cost of an
image without the start.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as arrow
from pyarrow import parquet

from fer_edge.images import read_image
from fer_edge.recognizer import Recognizer
from fer_edge.score.run import score
from fer_edge.walk import find_images

BATCH = 32


def plain_loop(paths: Sequence[Path], out: Path) -> None:
    """Score face crops in one loop."""
    rows: list[dict[str, object]] = []
    with Recognizer.open(threads=1, faces=BATCH) as recognizer:
        for start in range(0, len(paths), BATCH):
            batch = paths[start : start + BATCH]
            crops = [recognizer.preprocess(read_image(path), [None])[0].copy() for path in batch]
            expressions = recognizer.postprocess(recognizer.runner.infer(np.stack(crops)))
            rows += [
                {"source": str(path), "label": expression.label, **expression.scores}
                for path, expression in zip(batch, expressions, strict=True)
            ]
    parquet.write_table(arrow.Table.from_pylist(rows), out / "rows.parquet")


def cpu_seconds() -> float:
    """Return the CPU time of the processes that this one has started, and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(work: Callable[..., object], *arguments: object, **options: object) -> tuple[float, float, int]:
    """Return the seconds, the CPU seconds and the rows of some work in a new process and an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        started, cpu = time.perf_counter(), cpu_seconds()
        process = multiprocessing.get_context("spawn").Process(
            target=work, args=(*arguments, Path(folder)), kwargs=options
        )
        process.start()
        process.join()
        return time.perf_counter() - started, cpu_seconds() - cpu, parquet.read_table(folder).num_rows


@contextmanager
def ray_cluster(cpus: int) -> Iterator[str]:
    """Start a Ray cluster on this machine; yield its address."""
    from benchmarks.score_on_ray import start_cluster

    cluster = start_cluster(cpus)
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


def compare(name: str, work: Callable[..., object], paths: Sequence[Path], counts_cpu: bool = True) -> None:
    """Measure some work on a quarter of the images and on all of them, and print a line for each."""
    images, seconds, cpu = [0.0] * 2, [0.0] * 2, [float("nan")] * 2
    for run, part in enumerate((paths[: max(len(paths) // 4, 1)], paths)):
        seconds[run], used, images[run] = measure(work, part)
        assert images[run] == len(part)
        if counts_cpu:
            cpu[run] = used
        more = max(images[1] - images[0], 0) or float("nan")
        per_image = [1e3 * (total[1] - total[0]) / more for total in (seconds, cpu)]
        print(f"{name:16} {images[run]:6} {seconds[run]:8.1f} {cpu[run]:6.1f}", end="")
        print(f" {per_image[0]:10.3f} {per_image[1]:14.3f}" if run else "", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, help="folder of face crops")
    parser.add_argument("--count", type=int, default=4096, help="number of images; default: 4096")
    parser.add_argument("--workers", type=int, default=1, help="number of worker processes; default: 1")
    parser.add_argument("--shard", type=int, default=1024, help="images of a shard; default: 1024")
    parser.add_argument("--ray", action="store_true", help="also measure a run on a local Ray cluster")
    options = parser.parse_args(arguments)
    paths = find_images(options.faces).paths[: options.count]
    print(f"{os.cpu_count()} CPUs, {options.workers} workers, {options.shard} images a shard")
    print(f"{'':37} without the start:")
    print(f"{'':16} images  seconds  CPU s   ms/image   CPU ms/image")
    scoring = partial(score, crop=True, workers=options.workers, shard=options.shard)
    compare("plain loop", plain_loop, paths)
    compare("fer-edge score", scoring, paths)
    if options.ray:
        with ray_cluster(options.workers + 1) as address:
            compare("on Ray", partial(scoring, ray=address), paths, counts_cpu=False)


if __name__ == "__main__":
    main()
