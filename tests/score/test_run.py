"""The call and the command with worker processes, which are killed at any moment."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from pyarrow import parquet

from fer_edge.errors import BundleError, ConfigError, EngineError, FerEdgeError
from fer_edge.score.pool import MAX_ATTEMPTS, WorkerSettings, score_shards
from fer_edge.score.run import ScoreResult, score
from fer_edge.score.shards import DAMAGED
from tests import command
from tests.score.conftest import png, write_tar

IMAGES = 240


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive of equal images, whose scoring takes long enough to be interrupted."""
    path = tmp_path_factory.mktemp("archive") / "images.tar"
    image = png()
    return write_tar(
        path, dict.fromkeys((f"{index:04}.png" for index in range(IMAGES)), image) | {"damaged.png": image[:100]}
    )


def run(sources: Path, out: Path, bundle: Path, **options: object) -> ScoreResult:
    options = {"workers": 1, "crop": True, "engine": "onnxruntime", **options}
    return score(sources, out, bundle=bundle, **options)  # type: ignore[arg-type]


def check_rows(out: Path) -> None:
    """Check that each image has one row, and the damaged one its line."""
    assert sorted(parquet.read_table(out)["item"].to_pylist()) == [f"{index:04}.png" for index in range(IMAGES)]
    assert (out / DAMAGED).read_text().count("damaged.png is truncated") == 1
    assert {path.name[:6] for path in out.iterdir()} <= {"part-0", "_plan.", "_damag", ".lock"}


@contextmanager
def killer(out: Path, shard: int, kills: int) -> Iterator[list[int]]:
    """Kill the workers of this process while the file of a shard is unfinished; yield the killed ones."""
    killed: list[int] = []
    end = threading.Event()

    def watch() -> None:
        while not end.is_set() and len(killed) < kills:
            if list(out.glob(f".part-{shard:06}.parquet.*")):
                for child in multiprocessing.active_children():
                    if child.name == "fer-edge score" and child.pid and child.pid not in killed:
                        with suppress(ProcessLookupError):
                            os.kill(child.pid, signal.SIGKILL)
                        killed.append(child.pid)
                for path in out.glob(".part-*"):  # of the killed worker
                    path.unlink(missing_ok=True)
            time.sleep(0.002)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        end.set()
        thread.join()


def test_shard_of_a_killed_worker_is_scored_again(archive: Path, bundle: Path, tmp_path: Path) -> None:
    with killer(tmp_path, 0, 1) as killed:
        result = run(archive, tmp_path, bundle)
    assert len(killed) == 1 and result.passed and (result.images, result.damaged) == (IMAGES, 1)
    check_rows(tmp_path)


@pytest.mark.slow
def test_shard_that_kills_workers_is_left_out_and_the_next_run_scores_it(
    archive: Path, bundle: Path, tmp_path: Path
) -> None:
    with killer(tmp_path, 1, MAX_ATTEMPTS) as killed:
        first = run(archive, tmp_path, bundle, shard=90)
    assert len(killed) == MAX_ATTEMPTS
    assert first.failed == {
        1: f"{MAX_ATTEMPTS} workers were killed by SIGKILL (perhaps for lack of memory) during it; "
        f"it begins with {archive} 0090.png"
    }
    assert (first.passed, first.shards, first.present, first.images) == (False, 3, 0, 150)
    assert first.notes()[0].startswith("shard 1 is left out: 3 workers were killed by SIGKILL")
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("part-*")}
    assert [*sorted(before)] == ["part-000000.parquet", "part-000002.parquet"]
    arguments = ["score", archive, "-o", tmp_path, "--bundle", bundle, "--engine", "onnxruntime", "--crop"]
    second = command.fer_edge(*arguments, "--shard", "90", "--workers", "1", "--json")
    assert second.returncode == 0, second.stderr
    data = json.loads(second.stdout)
    assert (data["present"], data["images"], data["damaged"], data["failed"]) == (2, IMAGES, 1, {})
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in before} == before
    check_rows(tmp_path)
    refusal = command.fer_edge(*arguments, "--shard", "91")
    assert refusal.returncode == 2 and refusal.stderr.startswith(
        f"error: {tmp_path} has the results of another run: shard was 90, and is 91; name another folder"
    )


@pytest.mark.slow
def test_failure_of_a_worker_ends_the_run(archive: Path, bundle: Path, tmp_path: Path) -> None:
    settings = WorkerSettings(tmp_path / "missing", bundle, 1, False)
    with pytest.raises(FerEdgeError, match=r"_plan\.arrow is missing or damaged"):
        list(score_shards(settings, [0], 1, lambda count: None))
    assert not [child for child in multiprocessing.active_children() if child.name == "fer-edge score"]


@pytest.mark.slow
def test_workers_that_die_at_their_start_end_the_run(bundle: Path, tmp_path: Path) -> None:
    end = threading.Event()

    def kill() -> None:
        while not end.wait(0.01):
            for child in multiprocessing.active_children():
                if child.name == "fer-edge score" and child.pid:
                    with suppress(ProcessLookupError):
                        os.kill(child.pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        with pytest.raises(EngineError, match="3 workers were killed by SIGKILL"):
            list(score_shards(WorkerSettings(tmp_path, bundle, 1, False), [0, 1], 1, lambda count: None))
    finally:
        end.set()
        thread.join()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers is 0; expected a whole number from 1 to 1024"),
        ({"shard": 0}, "shard is 0; expected"),
        ({"detail": "high"}, "detail is 'high'; expected one of: fast, normal, fine"),
    ],
)
def test_wrong_arguments_are_refused(
    archive: Path, bundle: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(archive, tmp_path / "out", bundle, **options)
    assert not (tmp_path / "out").exists()


def test_folder_in_use_and_missing_bundle_are_refused(archive: Path, bundle: Path, tmp_path: Path) -> None:
    from fer_edge._lock import lock_folder

    with lock_folder(tmp_path), pytest.raises(FerEdgeError, match="is in use by process"):
        run(archive, tmp_path, bundle)
    with pytest.raises(BundleError):
        run(archive, tmp_path, tmp_path / "missing.fer")


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["driver", "everything", "worker"])
def test_killed_at_random_moments(archive: Path, bundle: Path, tmp_path: Path, victim: str) -> None:
    """Kill driver, worker or all of them several times, then finish: each image has one row."""
    arguments = [sys.executable, "-m", "fer_edge", "score", archive, "-o", tmp_path, "--bundle", bundle, "--crop"]
    arguments += ["--engine", "onnxruntime", "--shard", "3", "--workers", "2"]
    moments = random.Random(victim)
    for attempt in range(4):
        process = subprocess.Popen([*map(str, arguments)], start_new_session=True, stdout=subprocess.DEVNULL)
        _wait_for_shard(tmp_path, process, moments.randint(1, 6))
        time.sleep(moments.random() / 20)
        if process.poll() is not None:  # a fast machine completes a later run before its moment
            assert attempt > 0 and process.returncode == 0
            break
        if victim == "everything":
            os.killpg(process.pid, signal.SIGKILL)
        elif victim == "driver":
            process.kill()
        else:
            _kill_child(process.pid)
            assert process.wait() == 0
            break
        process.wait()
    done = subprocess.run([*map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    check_rows(tmp_path)


def _wait_for_shard(out: Path, process: subprocess.Popen[bytes], count: int) -> None:
    """Wait until a run has written some shards."""
    before = len(list(out.glob("part-*")))
    while process.poll() is None and len(list(out.glob("part-*"))) < before + count:
        time.sleep(0.005)


def _kill_child(driver: int) -> None:
    """Kill the youngest process that a driver has started, which is a worker."""
    children = Path(f"/proc/{driver}/task/{driver}/children").read_text().split()
    workers = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(int(workers[-1]), signal.SIGKILL)


@pytest.mark.slow
def test_interrupt_ends_the_workers(archive: Path, bundle: Path, tmp_path: Path) -> None:
    """Ctrl-C reaches all processes of a terminal."""
    arguments = [sys.executable, "-m", "fer_edge", "score", archive, "-o", tmp_path / "out", "--bundle", bundle]
    arguments += ["--crop", "--engine", "onnxruntime", "--shard", "2", "--workers", "1"]
    process = subprocess.Popen(
        [*map(str, arguments)], start_new_session=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    while process.poll() is None and not list((tmp_path / "out").glob("part-*")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.startswith("stopped after ") and errors.endswith("shards; the same command does the others\n")
    assert errors.count("\n") == 1
    with pytest.raises(ProcessLookupError):
        for _ in range(500):  # Python's own process for cleaning up ends a moment later
            os.killpg(process.pid, 0)
            time.sleep(0.02)
