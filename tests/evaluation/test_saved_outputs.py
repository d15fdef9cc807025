"""Files of outputs in Polygraphy's format: reading of valid and of hostile files."""

from __future__ import annotations

import base64
import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.engines.base import Prediction
from fer_edge.errors import ConfigError, DataError
from fer_edge.evaluation import saved_outputs
from fer_edge.evaluation.saved_outputs import RunRecorder, check_outputs_path, inputs_path, read_outputs

ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)


def npy(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def iteration(*arrays: bytes, kind: str = "ndarray", field: str = "array") -> dict[str, Any]:
    names = ("label_logits", "text_logits", "probabilities")
    outputs = {
        name: {
            "values": {field: base64.b64encode(array).decode(), "polygraphy_class": kind},
            "polygraphy_class": "LazyArray",
        }
        for name, array in zip(names, arrays, strict=False)
    }
    return {"outputs": outputs, "runtime": None, "runner_name": "r", "polygraphy_class": "IterationResult"}


def write(path: Path, *runs: tuple[str, list[dict[str, Any]]]) -> Path:
    path.write_text(json.dumps({"lst": runs, "polygraphy_class": "RunResults"}))
    return path


def test_iterations_are_joined(tmp_path: Path) -> None:
    fortran = npy(np.asfortranarray(ROWS + 6))
    steps = [iteration(npy(ROWS), npy(ROWS), npy(ROWS)), iteration(fortran, fortran, fortran)]
    saved = read_outputs(write(tmp_path / "run.json", ("onnxrt-runner", steps)))
    assert (saved.runner, saved.batch, saved.inputs_sha256) == ("onnxrt-runner", 2, None)
    np.testing.assert_array_equal(saved.outputs["probabilities"], np.arange(12, dtype=np.float32).reshape(4, 3))
    prediction = saved.rows(1, 2)
    assert prediction.text_logits is not None and prediction.text_logits[:, 0].tolist() == [3, 6]


def test_missing_text_head_is_none(tmp_path: Path) -> None:
    step = iteration(npy(ROWS))
    step["outputs"]["other/Tensor"] = step["outputs"]["label_logits"]
    saved = read_outputs(write(tmp_path / "run.json", ("r", [step])))
    assert list(saved.outputs) == ["label_logits"]
    assert saved.rows(0, 1).text_logits is None


class Payload:
    """Object that runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("unpickled"),))


def huge_header() -> bytes:
    """Return a .npy file of a few bytes that declares 8 TB."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 1)})
    return buffer.getvalue()


def archive() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, np.zeros(10**6))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (npy(np.array([Payload()], object), allow_pickle=True), "type object, shape .*; expected rows of numbers"),
        (pickle.dumps(Payload()), "invalid array: the magic string is not correct"),
        (huge_header(), "cannot reshape array of size 0"),
        (archive(), "invalid array: the magic string is not correct"),
        (npy(np.array(["text"])), "expected rows of numbers"),
        (npy(np.float32(1)), r"shape \(\); expected rows of numbers"),
        (npy(ROWS)[:-1], "invalid array: buffer size must be a multiple"),
        (npy(ROWS)[:-4], "invalid array: cannot reshape"),
        (b"\x93NUMPY\x09\x00", r"version \(9, 0\) of the .npy format"),
        (b"", "invalid array: EOF"),
        (npy(ROWS).replace(b"(2, 3)", b"(2, 3 ", 1), r"invalid header of the \.npy format: .*multi-line statement"),
    ],
)
def test_hostile_arrays_are_refused(
    array: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        read_outputs(write(tmp_path / "run.json", ("r", [iteration(array)])))
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not a Polygraphy file of outputs"),
        ('{"lst": [["r", [', "is not a Polygraphy file of outputs"),
        ("[" * 100_000, "is not a Polygraphy file of outputs"),
        ("[]", "Expected `object`, got `array`"),
        ('{"polygraphy_class": "Formatted", "lst": []}', "Invalid value 'Formatted'"),
        ('{"polygraphy_class": "RunResults", "lst": []}', "outputs of 0 runners: none; expected one"),
        ('{"polygraphy_class": "RunResults", "lst": [["a", []], ["b", []]]}', "outputs of 2 runners: a, b; expected"),
        (b"\xff\xfe", "is not a Polygraphy file of outputs"),
    ],
)
def test_other_content_is_refused(content: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        read_outputs(path)


def test_torch_tensors_are_refused(tmp_path: Path) -> None:
    tensor = iteration(b"torch file", kind="Tensor", field="tensor")
    with pytest.raises(DataError, match=r"RunResults\): .*Tensor"):
        read_outputs(write(tmp_path / "run.json", ("r", [tensor])))


def test_iterations_with_different_outputs_are_refused(tmp_path: Path) -> None:
    steps = [iteration(npy(ROWS), npy(ROWS)), iteration(npy(ROWS))]
    with pytest.raises(DataError, match="not every iteration has the output 'text_logits'"):
        read_outputs(write(tmp_path / "run.json", ("r", steps)))
    with pytest.raises(DataError, match="has an invalid array: all the input array dimensions"):
        read_outputs(write(tmp_path / "run.json", ("r", [iteration(npy(ROWS)), iteration(npy(ROWS[:, :2]))])))


def test_large_and_missing_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_outputs, "MAX_BYTES", 1 << 20)
    (tmp_path / "run.json").write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(DataError, match="is larger than 1 MiB; save fewer images"):
        read_outputs(tmp_path / "run.json")
    with pytest.raises(DataError, match=r"cannot read .*none\.json: No such file"):
        read_outputs(tmp_path / "none.json")
    with pytest.raises(DataError, match="Is a directory"):
        read_outputs(tmp_path)


def test_recorded_run_is_read_by_both_programs(tmp_path: Path) -> None:
    comparator = pytest.importorskip("polygraphy.comparator")
    from polygraphy.json import load_json

    recorder = RunRecorder()
    for count in (2, 1):
        recorder(np.full((count, 112, 112, 3), count, np.uint8), Prediction(ROWS[:count], None, ROWS[:count] * 2))
    outputs, inputs = recorder.save(tmp_path / "run.json", "openvino")
    assert inputs == inputs_path(outputs) == tmp_path / "run.inputs.json"
    saved = read_outputs(outputs)
    assert (saved.runner, saved.batch, len(saved.outputs["label_logits"])) == ("openvino", 2, 3)
    assert saved.inputs_sha256 is not None and "text_logits" not in saved.outputs
    results = comparator.RunResults.load(str(outputs))
    np.testing.assert_array_equal(results["openvino"][1]["probabilities"], ROWS[:1] * 2)
    assert [feed["images"].shape for feed in load_json(str(inputs))] == [(2, 112, 112, 3), (1, 112, 112, 3)]


def test_outputs_file_needs_a_json_suffix() -> None:
    with pytest.raises(ConfigError, match=r"the outputs file is run; expected a name that ends in \.json"):
        check_outputs_path(Path("run"))
