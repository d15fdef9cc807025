"""Outputs and inputs of a run as files of Polygraphy: RunResults and input data, both JSON.

Polygraphy's encoder writes them. Its decoder is not used, because a file may come from an untrusted source: the decoder
also passes data to torch.load and unpacks archives of any size. The schema here accepts NumPy arrays only, which become
views of the bytes in the file.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from fer_edge import _typed
from fer_edge._files import write_together
from fer_edge._require import require
from fer_edge.engines.base import INPUT_NAME, OUTPUT_NAMES, Floats, Images, Prediction
from fer_edge.errors import ConfigError, DataError

MAX_BYTES = 1 << 28  # of a file: the outputs of 500,000 images
CLASS = "polygraphy_class"  # field with the name of the encoded class
IDENTITY = "fer_edge"  # additional field, which Polygraphy ignores
PURPOSE = "saving outputs"


@dataclass(frozen=True)
class SavedOutputs:
    """Outputs of all images, in order, as a runner of Polygraphy or an engine returned them."""

    runner: str  # name that the file has for the runner
    outputs: dict[str, Floats]  # (N, ...) each; only those of a deploy graph
    batch: int  # number of images in the largest batch
    inputs_sha256: str | None  # of the pixels of all images; None: not in the file

    def rows(self, start: int, count: int) -> Prediction:
        """Return the outputs of some images.

        Args:
            start: Index of the first image.
            count: Number of images.
        """
        rows = [self.outputs[name][start : start + count] if name in self.outputs else None for name in OUTPUT_NAMES]
        return Prediction(*rows)  # type: ignore[arg-type]  # a missing output is reported by the comparison


class RunRecorder:
    """Batches of a run and their outputs."""

    def __init__(self) -> None:
        self.inputs: list[Images] = []
        self.predictions: list[Prediction] = []

    def __call__(self, images: Images, prediction: Prediction) -> None:
        """Add a batch."""
        self.inputs.append(images.copy())
        self.predictions.append(prediction)

    def save(self, path: Path, runner: str) -> tuple[Path, Path]:
        """Write outputs and inputs.

        Args:
            path: File for the outputs, see `check_outputs_path`. The inputs go to `inputs_path` of it.
            runner: Name of the runner in the file.

        Returns:
            Paths of the outputs and the inputs.

        Raises:
            EngineUnavailableError: Polygraphy is not installed.
            FerEdgeError: A file cannot be written; neither is.
        """
        require("polygraphy", "polygraphy", PURPOSE)
        from polygraphy.comparator import RunResults
        from polygraphy.json import to_json

        results = RunResults()
        by_name = [prediction._asdict() for prediction in self.predictions]
        results.add([{name: row[name] for name in row if row[name] is not None} for row in by_name], runner_name=runner)
        digest = hashlib.sha256()
        for images in self.inputs:
            digest.update(images.data)
        outputs = {**json.loads(results.to_json()), IDENTITY: {"inputs_sha256": digest.hexdigest()}}
        inputs = to_json([{INPUT_NAME: images} for images in self.inputs])
        write_together({path: json.dumps(outputs, indent=1).encode(), inputs_path(path): inputs.encode()})
        return path, inputs_path(path)


def inputs_path(outputs: Path) -> Path:
    """Return the file of the inputs that belong to a file of outputs: run.json -> run.inputs.json."""
    return outputs.with_suffix(".inputs.json")


def check_outputs_path(path: Path) -> None:
    """Refuse an output file that Polygraphy would take for a folder, before the long work.

    Raises:
        ConfigError: Another suffix than `.json`.
        EngineUnavailableError: Polygraphy is not installed.
    """
    if path.suffix != ".json":
        raise ConfigError(f"the outputs file is {path}; expected a name that ends in .json")
    require("polygraphy", "polygraphy", PURPOSE)


class _Array(msgspec.Struct, tag_field=CLASS, tag="ndarray"):
    array: bytes  # a .npy file; in JSON as base64


class _LazyArray(msgspec.Struct, tag_field=CLASS, tag="LazyArray"):
    values: _Array


class _Iteration(msgspec.Struct, tag_field=CLASS, tag="IterationResult"):
    outputs: dict[str, _LazyArray]


class _Identity(msgspec.Struct):
    inputs_sha256: str | None = None


class _RunResults(msgspec.Struct, tag_field=CLASS, tag="RunResults"):
    lst: list[tuple[str, list[_Iteration]]]
    fer_edge: _Identity = msgspec.field(default_factory=_Identity)


def read_outputs(path: Path) -> SavedOutputs:
    """Read the RunResults of one runner.

    Args:
        path: JSON file, as written by `polygraphy run ... --save-outputs` or `RunRecorder.save`.

    Raises:
        DataError: The file is missing, too large, or does not contain NumPy outputs of exactly one runner.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; expected a JSON file of outputs") from error
    if len(data) > MAX_BYTES:
        raise DataError(f"{path} is larger than {MAX_BYTES >> 20} MiB; save fewer images, or only the model's outputs")
    try:
        results = _typed.decode_json(data, _RunResults)
    except _typed.JSON_ERRORS as error:
        raise DataError(f"{path} is not a Polygraphy file of outputs (RunResults): {error}") from error
    if len(results.lst) != 1:
        names = ", ".join(name for name, _ in results.lst) or "none"
        raise DataError(f"{path} has outputs of {len(results.lst)} runners: {names}; expected one, save each by itself")
    runner, iterations = results.lst[0]
    try:
        steps = [_arrays(iteration) for iteration in iterations]
        outputs = {name: np.concatenate([step[name] for step in steps]) for name in (steps[0] if steps else ())}
    except KeyError as error:
        raise DataError(f"{path}: not every iteration has the output {error}; save the outputs again") from error
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise DataError(f"{path} has an invalid array: {error}; save the outputs again") from error
    batch = max((len(values) for step in steps for values in step.values()), default=0)
    return SavedOutputs(runner, outputs, batch, results.fer_edge.inputs_sha256)


def _arrays(iteration: _Iteration) -> dict[str, npt.NDArray[Any]]:
    """Return the outputs of a deploy graph; other tensors of the graph are left out."""
    saved = iteration.outputs
    return {name: _array(saved[name].values.array) for name in OUTPUT_NAMES if name in saved}


def _array(data: bytes) -> npt.NDArray[Any]:
    """Return the array of a .npy file as a view; no pickle, and no memory beyond that of the file.

    Raises:
        ValueError: Another format, objects in place of numbers, or a shape that does not fit the size.
    """
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the .npy format; expected 1.0 or 2.0")
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, fortran_order, dtype = header(stream)
    except (SyntaxError, TokenError) as error:  # NumPy parses the header as Python
        raise ValueError(f"invalid header of the .npy format: {error}") from error
    if dtype.kind not in "biuf" or not shape:
        raise ValueError(f"type {dtype}, shape {shape}; expected rows of numbers")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape, order="F" if fortran_order else "C")
