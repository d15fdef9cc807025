"""Exported graphs in apps that import ONNX: old versions of ONNX Runtime, and the operators of Unity Sentis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest

from fer_edge.bundle import MODEL, Bundle
from fer_edge.export.build import typed_graph
from fer_edge.export.onnx_graph import IR_VERSION, OPSET
from fer_edge.recognizer import shipped_bundle
from tests.calibration.tiny_ranges import tiny_images, tiny_ranges
from tests.export import old_runtimes
from tests.export.test_onnx_graph import VARIANTS
from tests.tiny_model import LABELS, tiny_checkpoint

SENTIS = json.loads((Path(__file__).parent / "sentis_operators.json").read_text())

# Largest relative difference between versions: their int8 and half kernels round differently.
TOLERANCES = {"fp32": 1e-4, "shipped": 1e-4, "fp16": 5e-3, "int8": 0.1}


@cache
def graphs() -> dict[str, bytes]:
    """Return the graph of every precision, and the shipped one, by name."""
    checkpoint, ranges = tiny_checkpoint(), tiny_ranges()
    return {
        "fp32": typed_graph(checkpoint, "fp32").to_bytes(),
        "fp16": typed_graph(checkpoint, "fp16", ranges).to_bytes(),
        "int8": typed_graph(checkpoint, "int8", ranges).to_bytes(),
        "int8_half_scales": typed_graph(checkpoint, "int8", ranges, "fp16").to_bytes(),
        "shipped": Bundle.open(shipped_bundle()).read(MODEL),
    }


def path_of(version: str) -> Path:
    """Return the folder of an old ONNX Runtime; skip the test without one, or fail if skipping is not allowed."""
    if version not in old_runtimes.supported_versions():
        pytest.skip(f"ONNX Runtime {version} has no wheel for Python {sys.version_info[0]}.{sys.version_info[1]}")
    folder = old_runtimes.FOLDER / version
    if not folder.is_dir():
        reason = f"needs {folder.relative_to(folder.parents[2])}; make it with: scripts/test-onnxruntime"
        if os.environ.get("FER_EDGE_REQUIRE_SHARED"):
            pytest.fail(f"{reason}, and this run must not skip what needs it")
        pytest.skip(reason)
    return folder


def outputs_in(folder: Path, python_path: Path | None) -> tuple[str, dict[str, dict[str, np.ndarray]]]:
    """Run all graphs in a process with this path; return its ONNX Runtime version, and values by graph and output."""
    folder.mkdir()
    np.save(folder / "images.npy", next(tiny_images().batches(3)))
    for name, model in graphs().items():
        (folder / f"{name}.onnx").write_bytes(model)
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(python_path or "")}
    program = [sys.executable, old_runtimes.__file__, str(folder)]
    process = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    return process.stdout.strip(), {name: dict(np.load(folder / f"{name}.npz")) for name in graphs()}


@pytest.fixture(scope="module")
def current(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray]]:
    """Return the values of the installed ONNX Runtime."""
    return outputs_in(tmp_path_factory.mktemp("current") / "graphs", None)[1]


@pytest.mark.slow
@pytest.mark.parametrize("version", old_runtimes.NEWEST_PYTHON)
def test_every_graph_runs_in_old_onnx_runtimes(
    version: str, current: dict[str, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    used, values = outputs_in(tmp_path / "graphs", path_of(version))
    assert used == version
    for name, outputs in values.items():
        assert outputs.keys() == current[name].keys()
        for output, actual in outputs.items():
            expected = current[name][output]
            assert actual.shape == expected.shape == (3, len(LABELS)) and np.isfinite(actual).all()
            error = np.abs(actual - expected).max() / np.abs(expected).max()
            # Old versions load int8 graphs with fp16 float layers, but compute float16 scales inexactly: see
            # docs/guides/onnx.md.
            assert error <= TOLERANCES.get(name, np.inf), (name, output)


def test_every_layer_norm_has_a_bias_and_the_ir_is_old() -> None:
    for name, model in graphs().items():
        proto = onnx.load_from_string(model)
        norms = [node for node in proto.graph.node if node.op_type == "LayerNormalization"]
        assert norms and all(len(node.input) == 3 and node.input[2] for node in norms), name
        assert proto.ir_version == IR_VERSION == 8
        assert [opset.version for opset in proto.opset_import] == [19 if "half" in name else OPSET]


@pytest.mark.parametrize("name", ["fp32", "fp16", "int8", "int8_half_scales"])
def test_metadata_describes_inputs_and_outputs(name: str) -> None:
    stored = {entry.key: entry.value for entry in onnx.load_from_string(graphs()[name]).metadata_props}
    assert json.loads(stored["labels"]) == list(LABELS)
    assert stored["head"] == "mean"
    assert stored["input"] == "uint8 RGB (N, 112, 112, 3)"
    assert json.loads(stored["input_size"]) == [112, 112] and json.loads(stored["input_range"]) == [0, 255]
    assert (stored["input_layout"], stored["input_color"], stored["input_dtype"]) == ("NHWC", "RGB", "uint8")
    assert stored["normalisation"] == "inside the graph"
    assert stored["input_content"] == "one face, cropped to a square"


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_fp32_graphs_have_only_operators_of_sentis(variant: str) -> None:
    proto = onnx.load_from_string(typed_graph(tiny_checkpoint(**VARIANTS[variant]), "fp32").to_bytes())
    used = {node.op_type for node in proto.graph.node}
    assert used <= set(SENTIS["operators"]), used - set(SENTIS["operators"])


def test_other_graphs_lack_only_quantisation_in_sentis() -> None:
    for name, model in graphs().items():
        missing = {node.op_type for node in onnx.load_from_string(model).graph.node} - set(SENTIS["operators"])
        assert missing == ({"QuantizeLinear", "DequantizeLinear"} if name.startswith("int8") else set()), name
    assert {"QuantizeLinear", "DequantizeLinear"} <= set(SENTIS["unsupported"])


def test_guide_names_every_metadata_key() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "onnx.md").read_text()
    stored = onnx.load_from_string(graphs()["int8_half_scales"]).metadata_props
    assert [entry.key for entry in stored if f"`{entry.key}`" not in guide] == []
