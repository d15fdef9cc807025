"""Measure the overhead of `fer-edge score` against a plain loop on the same face crops.

    python benchmarks/score.py FACES [--count 4096] [--workers 1]

FACES is a folder of face crops. Both read, decode and recognise in batches of 32 with one thread, and write Parquet;
the loop does it in one process without plan, shards, supervision and quality. Prints seconds, CPU seconds of all
processes, and milliseconds of CPU per image. Each is measured for a quarter of the images too: the difference of the
two, divided by that of their images, is the cost of an image without the start.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, help="folder of face crops")
    parser.add_argument("--count", type=int, default=4096, help="number of images; default: 4096")
    parser.add_argument("--workers", type=int, default=1, help="number of worker processes; default: 1")
    parser.add_argument("--shard", type=int, default=1024, help="images of a shard; default: 1024")
    options = parser.parse_args(arguments)
    paths = find_images(options.faces).paths[: options.count]
    print(f"{os.cpu_count()} CPUs, {options.workers} workers, {options.shard} images a shard")
    print(f"{'':16} images  seconds  CPU s  CPU ms/image  without start")
    for name in ("plain loop", "fer-edge score"):
        results = []
        for images in (paths[: max(len(paths) // 4, 1)], paths):
            if name == "plain loop":
                seconds, cpu, rows = measure(plain_loop, images)
            else:
                seconds, cpu, rows = measure(score, images, crop=True, workers=options.workers, shard=options.shard)
            assert rows == len(images)
            results.append((len(images), cpu))
            first, last = results[0], results[-1]
            marginal = 1e3 * (last[1] - first[1]) / (last[0] - first[0]) if last[0] > first[0] else float("nan")
            print(f"{name:16} {rows:6} {seconds:8.1f} {cpu:6.1f} {1e3 * cpu / rows:13.2f} {marginal:14.2f}", flush=True)


if __name__ == "__main__":
    main()
