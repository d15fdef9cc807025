"""Models that are replaced while a recognizer is in use."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge import Bundle, Recognizer
from fer_edge.engines import lifetime
from fer_edge.engines.base import Runner
from fer_edge.errors import BundleError, ConfigError, EngineError, FerEdgeError, SignatureError
from fer_edge.loaded import LoadedModel
from fer_edge.signing import sign_bundle
from tests.signatures import write_pair
from tests.test_shared_recognizer import FRAME, SECONDS, Busy, CallingRunner, run_script
from tests.tiny import LABELS, tiny_bundle

SWAPS = 20


@pytest.fixture
def bundles(tmp_path: Path) -> list[Bundle]:
    """Return two bundles with different models, in memory; several faces are several batches of one."""
    paths = [tiny_bundle(tmp_path / f"{seed}.fer", seed=seed, max_batch=1) for seed in (0, 1)]
    return [Bundle.open(path, in_memory=True) for path in paths]


@pytest.fixture
def runners(monkeypatch: pytest.MonkeyPatch) -> list[Runner]:
    """Return a list of all runners that bundles open during the test."""
    opened: list[Runner] = []
    warm_runner = Bundle.warm_runner

    def open_runner(*arguments: Any, **options: Any) -> Runner:
        opened.append(warm_runner(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(Bundle, "warm_runner", open_runner)
    return opened


def model_hash(bundle: Bundle) -> str:
    return str(bundle.manifest.files["model.onnx"]["sha256"])


def resources() -> tuple[int, int]:
    """Return the number of open files and of threads of this process."""
    return len([*Path("/proc/self/fd").iterdir()]), len([*Path("/proc/self/task").iterdir()])


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts files and threads of Linux")
@pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("openvino", marks=pytest.mark.slow)])
def test_every_result_belongs_to_one_model(bundles: list[Bundle], engine: str) -> None:
    expected = {}
    for bundle in bundles:
        with Recognizer.open(bundle, engine, threads=1) as recognizer:
            expected[model_hash(bundle)] = [*recognizer.recognize(FRAME).scores.values()]
    first, second = expected.values()
    assert not np.allclose(first, second, atol=1e-3)
    recognizer = Recognizer.open(bundles[0], engine, threads=1)
    end, calls = threading.Event(), [0, 0, 0]

    def work(index: int) -> set[str]:
        hashes = set()
        while not end.wait(0.001):
            results = recognizer.recognize_faces(FRAME, [None] * 3)
            (found,) = {result.model_hash for result in results}
            assert np.allclose([[*result.scores.values()] for result in results], expected[found], atol=1e-5)
            hashes.add(found)
            calls[index] += 1
        return hashes

    with ThreadPoolExecutor(3) as pool:
        work_done = [pool.submit(work, index) for index in range(3)]
        try:
            counts = []
            for swap in range(1, SWAPS + 1):
                before = sum(calls)
                recognizer.reload(bundles[swap % 2])
                assert recognizer.recognize(FRAME).model_hash == model_hash(bundles[swap % 2])
                while sum(calls) == before and not any(future.done() for future in work_done):
                    time.sleep(0.001)  # until a worker has used the new model
                counts.append(resources())
        finally:
            end.set()
        hashes = set.union(*(future.result(SECONDS) for future in work_done))
    assert hashes == set(expected)
    recognizer.close()
    assert counts[-1][0] <= counts[2][0] and counts[-1][1] <= counts[2][1], counts


def test_call_ends_on_its_model_while_others_use_the_new_one(bundles: list[Bundle]) -> None:
    busy = Busy()
    recognizer = busy.recognizer
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(recognizer.recognize, FRAME)
        assert busy.entered.wait(SECONDS)
        reload = pool.submit(recognizer.reload, bundles[0])
        while recognizer.runner is busy.runner:
            assert not reload.done()
            time.sleep(0.001)
        assert recognizer.recognize(FRAME).model_hash == recognizer.model_hash == model_hash(bundles[0])
        assert busy.runner.released == 0 and not call.done() and not reload.done()
        busy.resume.set()
        assert call.result(SECONDS).scores["happiness"] == pytest.approx(0.7)
        reload.result(SECONDS)
    assert busy.runner.released == 1 and not recognizer.runner.is_closed


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def write_other_labels(path: Path) -> None:
    tiny_bundle(path, labels=LABELS[::-1], words=LABELS[::-1])


def write_other_number_of_labels(path: Path) -> None:
    tiny_bundle(path, labels=("a", "b"), words=("a", "b"))


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (truncate, BundleError, "is truncated"),
        (lambda path: path.write_bytes(b"foreign"), BundleError, "a.fer"),
        (lambda path: path.unlink(), BundleError, "no bundle at"),
        (
            write_other_labels,
            BundleError,
            "has the labels surprise, happiness, neutral; expected neutral, happiness, surprise, .*other_labels=True",
        ),
        (write_other_number_of_labels, BundleError, "has the labels a, b"),
    ],
)
def test_refused_bundle_leaves_the_model_in_use(
    tmp_path: Path, runners: list[Runner], change: Callable[[Path], object], error: type[FerEdgeError], text: str
) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    with Recognizer.open(path, "onnxruntime", threads=1) as recognizer:
        before = recognizer.recognize(FRAME)
        change(path)
        with pytest.raises(error, match=text):
            recognizer.reload()
        assert recognizer.recognize(FRAME) == before
    assert [runner.is_released for runner in runners] == [True]


def test_bundle_that_fails_in_the_engine_leaves_the_model_in_use(tmp_path: Path, runners: list[Runner]) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    labels = ("a", "b", "c", "d")
    other = tiny_bundle(tmp_path / "b.fer", labels=labels, words=labels)
    with Recognizer.open(path, "onnxruntime", threads=1) as recognizer:
        before = recognizer.recognize(FRAME)
        with pytest.raises(BundleError, match="has 4 labels, but its model gives probabilities of shape"):
            recognizer.reload(other, other_labels=True)
        assert recognizer.recognize(FRAME) == before and recognizer.labels == LABELS


def test_replaced_file_is_loaded_with_the_settings_of_open(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    with Recognizer.open(path, "onnxruntime", threads=1) as recognizer:
        former = recognizer.model_hash
        tiny_bundle(tmp_path / "new.fer", seed=1).replace(path)
        recognizer.reload()
        assert recognizer.model_hash == recognizer.recognize(FRAME).model_hash != former
        assert recognizer.engine == "onnxruntime"
        assert recognizer.runner.threads == 1
        assert recognizer.postprocess(recognizer.runner.infer(recognizer.preprocess(FRAME, [None])))[0].label


def test_other_labels_are_accepted_if_the_app_does(tmp_path: Path, bundles: list[Bundle]) -> None:
    labels = LABELS[::-1]
    other = tiny_bundle(tmp_path / "other.fer", labels=labels, words=labels)
    with Recognizer.open(bundles[0], "onnxruntime", threads=1) as recognizer:
        recognizer.reload(other, other_labels=True)
        assert recognizer.labels == tuple(recognizer.recognize(FRAME).scores) == labels


def test_signature_is_needed_after_a_signed_bundle(tmp_path: Path) -> None:
    path, (private, public) = tiny_bundle(tmp_path / "a.fer"), write_pair(tmp_path)
    sign_bundle(path, private)
    with Recognizer.open(path, "onnxruntime", threads=1, signed_by=public) as recognizer:
        tiny_bundle(path, seed=1)
        with pytest.raises(SignatureError):
            recognizer.reload()
        with pytest.raises(ConfigError, match=r"the signature of .* was not verified"):
            recognizer.reload(Bundle.open(path))
        sign_bundle(path, private)
        former = recognizer.model_hash
        recognizer.reload()
        assert recognizer.model_hash != former
        private, public = write_pair(tmp_path, "new")
        sign_bundle(path, private)
        with pytest.raises(SignatureError):
            recognizer.reload()
        recognizer.reload(signed_by=public)
        recognizer.reload()  # the new key is that of the current bundle
        recognizer.reload(Bundle.open(path, signed_by=public))


def test_reloads_at_the_same_moment_leave_one_model_open(bundles: list[Bundle], runners: list[Runner]) -> None:
    with Recognizer.open(bundles[0], "onnxruntime", threads=1) as recognizer:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda index: recognizer.reload(bundles[index % 2]), range(12)))
        assert recognizer.recognize(FRAME).model_hash == recognizer.model_hash
        assert [runner for runner in runners if not runner.is_released] == [recognizer.runner]
    assert len(runners) == 13 and all(runner.is_released for runner in runners)


def test_reload_of_a_closed_recognizer_is_refused(bundles: list[Bundle], runners: list[Runner]) -> None:
    recognizer = Recognizer.open(bundles[0], "onnxruntime", threads=1)
    model = recognizer.prepare(bundles[1])
    recognizer.close()
    uses: list[Callable[[], None]] = [recognizer.reload, lambda: recognizer.swap(model)]
    for use in uses:
        with pytest.raises(EngineError, match="the recognizer is closed; open the bundle again"):
            use()
    assert len(runners) == 2 and all(runner.is_released for runner in runners)


def test_close_during_a_reload_closes_both_models(
    bundles: list[Bundle], runners: list[Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = Recognizer.open(bundles[0], "onnxruntime", threads=1)
    swap = Recognizer.swap

    def close_and_swap(self: Recognizer, model: LoadedModel) -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(recognizer.close).result(SECONDS)  # does not wait for the reload
        swap(self, model)

    monkeypatch.setattr(Recognizer, "swap", close_and_swap)
    with pytest.raises(EngineError, match="the recognizer is closed"):
        recognizer.reload(bundles[1])
    assert len(runners) == 2 and all(runner.is_released for runner in runners)


def test_reload_inside_a_call_is_refused(bundles: list[Bundle]) -> None:
    errors: list[str] = []

    def reload() -> None:
        try:
            recognizer.reload(bundles[0])
        except EngineError as error:
            errors.append(str(error))

    recognizer = Recognizer(CallingRunner(reload), LABELS)
    assert recognizer.recognize(FRAME).label == "happiness"
    assert len(errors) == 1 and "cannot be replaced during a call of the same thread" in errors[0]


def test_recognizer_without_a_bundle_needs_a_path(bundles: list[Bundle]) -> None:
    recognizer = Recognizer(CallingRunner(lambda: None), LABELS)
    with pytest.raises(ConfigError, match="was not opened from a bundle; pass the path"):
        recognizer.reload()
    with recognizer:
        recognizer.reload(bundles[1].path)
        assert recognizer.recognize(FRAME).model_hash == model_hash(bundles[1])


def test_lock_of_a_missing_thread_is_free_after_a_fork(bundles: list[Bundle]) -> None:
    with Recognizer.open(bundles[0], "onnxruntime", threads=1) as recognizer:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(recognizer._reloading.acquire).result(SECONDS)
        lifetime.PROCESS.after_fork()
        recognizer.reload(bundles[1])
        assert recognizer.model_hash == model_hash(bundles[1])


@pytest.mark.slow  # a process; `test_lock_of_a_missing_thread_is_free_after_a_fork` is its quick sister
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_forked_process_repairs_its_recognizer_by_a_reload(bundles: list[Bundle]) -> None:
    script = """
import os, signal, sys
from concurrent.futures import ThreadPoolExecutor
from tests.test_shared_recognizer import FRAME, Busy

busy = Busy()
pool = ThreadPoolExecutor(1)
call = pool.submit(busy.recognizer.recognize, FRAME)
busy.entered.wait()
child = os.fork()
if not child:
    signal.alarm(60)
    busy.recognizer.reload(sys.argv[1])
    print(busy.recognizer.recognize(FRAME).model_hash, flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
busy.resume.set()
call.result()
"""
    code, stdout, stderr = run_script(script, bundles[1].path)
    assert (code, stdout.strip()) == (0, model_hash(bundles[1])), stderr


def test_name_of_the_shipped_model_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Recognizer.open("edge", "onnxruntime", threads=1) as recognizer:
        assert recognizer.model_hash == model_hash(Bundle.open(recognizer._model.source.bundle.path))  # type: ignore[union-attr]
        assert len(recognizer.labels) == 8
    monkeypatch.chdir(tmp_path)
    tiny_bundle(tmp_path / "edge")
    with Recognizer.open("edge", "onnxruntime", threads=1) as recognizer:  # a file of that name has precedence
        assert recognizer.labels == LABELS
    with pytest.raises(BundleError, match="no bundle at egde"):
        Recognizer.open("egde")


def test_bytes_of_a_bundle_in_memory_are_not_held(bundles: list[Bundle]) -> None:
    assert bundles[0].contents is not None
    with Recognizer.open(bundles[0], "onnxruntime", threads=1) as recognizer:
        source = recognizer._model.source
        assert source is not None and source.bundle.contents is None
        assert np.isclose(sum(recognizer.recognize(FRAME).scores.values()), 1)


def test_example_of_the_guide_replaces_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parents[1] / "docs" / "guides" / "updates.md").read_text()
    code = text.partition('```python title="a model that is replaced"\n')[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    tiny_bundle(tmp_path / "model.fer"), tiny_bundle(tmp_path / "download.part", seed=1)
    names: dict[str, Any] = {"frame": FRAME}
    exec(code, names)
    former, new = capsys.readouterr().out.splitlines()
    names["recognizer"].close()
    assert new == model_hash(Bundle.open(tmp_path / "model.fer")) != former
