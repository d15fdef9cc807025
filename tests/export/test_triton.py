"""Model repositories, read with Triton's own schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from fer_edge.bundle import Bundle, EngineEntry, write_bundle
from fer_edge.errors import BundleError, ConfigError, UnsupportedTarget
from fer_edge.export.triton import Serving, export_triton
from tests.cli.test_cli import fer_edge
from tests.tiny import LABELS, tiny_bundle, tiny_manifest, tiny_onnx

schema = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="needs tritonclient, grpcio and protobuf")


def read(folder: Path) -> Any:
    """A configuration as Triton reads it: an unknown field or a wrong type is an error."""
    return text_format.Parse((folder / "config.pbtxt").read_text(), schema.ModelConfig())


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_configuration_is_tritons(tmp_path: Path, engine: str) -> None:
    bundle = Bundle.open(tiny_bundle(tmp_path / "tiny.fer"))
    serving = Serving(instances=3, queue_delay_us=200, version=7)
    folder = export_triton(bundle, tmp_path / "models", engine=engine, serving=serving)
    assert folder == tmp_path / "models" / "tiny"
    assert (folder / "7" / "model.onnx").read_bytes() == tiny_onnx()
    assert (folder / "labels.txt").read_text().split() == list(LABELS)
    config = read(folder)
    assert (config.name, config.backend, config.max_batch_size) == ("tiny", engine, 8)
    (images,) = config.input
    assert (images.name, list(images.dims)) == ("images", [112, 112, 3])
    assert (images.data_type, images.format) == (schema.TYPE_UINT8, schema.ModelInput.FORMAT_NHWC)
    assert {output.name: list(output.dims) for output in config.output} == {
        "label_logits": [3],
        "text_logits": [3],
        "probabilities": [3],
    }
    assert [output.label_filename for output in config.output] == ["", "", "labels.txt"]
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 8]
    assert config.dynamic_batching.max_queue_delay_microseconds == 200
    assert (config.instance_group[0].count, config.instance_group[0].kind) == (3, schema.ModelInstanceGroup.KIND_CPU)
    assert [warm.batch_size for warm in config.model_warmup] == [1, 8]
    warm = config.model_warmup[0].inputs["images"]
    assert (list(warm.dims), warm.random_data) == ([112, 112, 3], True)


def test_a_plan_runs_on_gpus_with_graphs(tmp_path: Path) -> None:
    entry = EngineEntry("tensorrt", ("sm89",), "11.4.0.106", "engines/tensorrt-sm89.engine", "linux-x86_64")
    path = tmp_path / "a.fer"
    members = {"model.onnx": tiny_onnx(text_head=False), "engines/tensorrt-sm89.engine": b"plan"}
    write_bundle(path, tiny_manifest(engines=(entry,), max_batch=1), members)
    folder = export_triton(Bundle.open(path), tmp_path, name='odd "name"')
    config = read(folder)
    assert config.name == 'odd "name"' and config.backend == "tensorrt"
    assert (folder / "1" / "model.plan").read_bytes() == b"plan"
    assert config.instance_group[0].kind == schema.ModelInstanceGroup.KIND_GPU
    assert config.optimization.cuda.graphs
    assert not config.HasField("dynamic_batching")
    assert [output.name for output in config.output] == ["label_logits", "probabilities"]


def test_engines_without_a_backend_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.fer"
    entry = EngineEntry("tensorrt-rtx", ("sm89",), "1.7", "engines/x", None)
    write_bundle(path, tiny_manifest(engines=(entry,)), {"model.onnx": tiny_onnx(), "engines/x": b"x"})
    with pytest.raises(UnsupportedTarget, match="no backend for tensorrt-rtx; choose one of tensorrt, onnxruntime"):
        export_triton(Bundle.open(path), tmp_path)
    with pytest.raises(BundleError, match="has no engine tensorrt"):
        export_triton(Bundle.open(path), tmp_path, engine="tensorrt")
    with pytest.raises(ConfigError, match="instances and version start at 1"):
        Serving(instances=0)


@pytest.mark.parametrize("name", ["../evil", "/etc", "a\\b", "..", ""])
def test_a_bundles_name_does_not_lead_out_of_the_repository(tmp_path: Path, name: str) -> None:
    bundle = Bundle.open(tiny_bundle(tmp_path / "tiny.fer", name=name))
    with pytest.raises(ConfigError, match="expected a plain folder name"):
        export_triton(bundle, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_the_command(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny.fer")
    found = fer_edge("export-triton", bundle, "-o", tmp_path / "models", "--name", "faces", "--kind", "gpu")
    assert found.returncode == 0, found.stderr
    assert "openvino, batches of up to 8" in found.stdout
    assert read(tmp_path / "models" / "faces").instance_group[0].kind == schema.ModelInstanceGroup.KIND_GPU
    assert "expected cpu or gpu" in fer_edge("export-triton", bundle, "--kind", "tpu").stderr
