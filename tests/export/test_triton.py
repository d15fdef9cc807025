"""Triton model repositories, parsed with Triton's own schema."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from fer_edge.bundle import EngineEntry, write_bundle
from fer_edge.choices import InstanceKind
from fer_edge.errors import BundleError, ConfigError, UnsupportedTargetError
from fer_edge.export.triton import export_triton
from tests.command import fer_edge
from tests.tiny import LABELS, tiny_bundle, tiny_manifest, tiny_onnx

ROOT = Path(__file__).parents[2]
schema = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="needs tritonclient, grpcio and protobuf")


def export(bundle: Path, models: Path, **options: Any) -> Path:
    """Export a bundle, and return the model's folder."""
    return export_triton(bundle, models, **options).model


def read(folder: Path) -> Any:
    """Parse a configuration as Triton does: an unknown field or a wrong type is an error."""
    return text_format.Parse((folder / "config.pbtxt").read_text(), schema.ModelConfig())


def plan_bundle(path: Path, version: str = "11.4.0.106", *, max_batch: int = 8, **options: Any) -> Path:
    """Write a bundle with a TensorRT engine that was built with these options."""
    entry = EngineEntry("tensorrt", ("sm89",), version, "engines/x", "linux-x86_64", options=options)
    write_bundle(
        path,
        tiny_manifest(engines=(entry,), max_batch=max_batch),
        {"model.onnx": tiny_onnx(), "engines/x": b"plan"},
    )
    return path


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_configuration_follows_tritons_schema(tmp_path: Path, engine: str) -> None:
    bundle = tiny_bundle(tmp_path / "tiny.fer")
    options = {"instances": 3, "queue_delay": 200, "model_version": 7}
    folder = export(bundle, tmp_path / "models", engine=engine, **options)
    assert folder == tmp_path / "models" / "tiny"
    assert (folder / "7" / "model.onnx").read_bytes() == tiny_onnx()
    assert (folder / "labels.txt").read_text().split() == list(LABELS)
    config = read(folder)
    assert (config.name, config.backend, config.max_batch_size) == ("tiny", engine, 8)
    assert config.default_model_filename == "model.onnx"  # OpenVINO's backend expects model.xml by default
    padded = {"ENABLE_BATCH_PADDING": "YES"} if engine == "openvino" else {}
    assert {name: value.string_value for name, value in config.parameters.items()} == padded
    assert not config.instance_group[0].profile
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


def test_plan_runs_on_gpus_with_cuda_graphs(tmp_path: Path) -> None:
    entry = EngineEntry("tensorrt", ("sm89",), "11.4.0.106", "engines/tensorrt-sm89.engine", "linux-x86_64")
    path = tmp_path / "a.fer"
    members = {"model.onnx": tiny_onnx(text_head=False), "engines/tensorrt-sm89.engine": b"plan"}
    write_bundle(path, tiny_manifest(engines=(entry,), max_batch=1), members)
    folder = export(path, tmp_path, model_name='odd "name"')
    config = read(folder)
    assert config.name == 'odd "name"' and config.backend == "tensorrt"
    assert (folder / "1" / "model.plan").read_bytes() == b"plan"
    assert config.default_model_filename == "model.plan"
    assert config.instance_group[0].kind == schema.ModelInstanceGroup.KIND_GPU
    assert config.optimization.cuda.graphs
    assert [graph.batch_size for graph in config.optimization.cuda.graph_spec] == [1]
    assert not config.HasField("dynamic_batching")
    assert [output.name for output in config.output] == ["label_logits", "probabilities"]


@pytest.mark.parametrize(("max_batch", "sizes"), [(3, [1, 2, 3]), (16, [*range(1, 17)]), (32, [*range(1, 17), 32])])
def test_every_batch_of_the_queue_has_a_cuda_graph(tmp_path: Path, max_batch: int, sizes: list[int]) -> None:
    bundle = plan_bundle(tmp_path / "a.fer", max_batch=max_batch)
    cuda = read(export(bundle, tmp_path / "models")).optimization.cuda
    assert cuda.graphs and [graph.batch_size for graph in cuda.graph_spec] == sizes
    plain = read(export(tiny_bundle(tmp_path / "b.fer"), tmp_path / "others"))
    assert not plain.HasField("optimization")


@pytest.mark.parametrize(
    ("options", "profiles"),
    [
        ({}, []),
        ({"optimal_batches": 8}, []),
        ({"optimal_batches": [8], "workspace_mb": 64}, []),
        ({"optimal_batches": [1, 8]}, ["0", "1"]),
        ({"optimal_batches": [1, 2, 8]}, ["0", "1", "2"]),
    ],
)
def test_configuration_names_all_profiles_of_a_plan(
    tmp_path: Path, options: dict[str, Any], profiles: list[str]
) -> None:
    bundle = plan_bundle(tmp_path / "a.fer", **options)
    (group,) = read(export(bundle, tmp_path / "models")).instance_group
    assert list(group.profile) == profiles


def test_plan_without_weights_is_refused(tmp_path: Path) -> None:
    bundle = plan_bundle(tmp_path / "a.fer", weights="stripped")
    message = (
        "its plan has no weights, and Triton cannot add them; build it again with: .* --set tensorrt.weights=inside"
    )
    with pytest.raises(UnsupportedTargetError, match=message):
        export(bundle, tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": "high"}, r"options\.speed is not known; expected some of: optimization_level"),
        ({"weights": 7}, "options.weights is 7; expected one of: inside, stripped"),
        ({"optimal_batches": [True, "x"]}, r"options\.optimal_batches\[0\] is True; expected a whole number"),
        ({"optimal_batches": [1, 64]}, "optimal_batches has 64; the engine takes at most 8"),
    ],
)
def test_unknown_build_options_of_a_bundle_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    bundle = plan_bundle(tmp_path / "a.fer", **options)
    with pytest.raises(BundleError, match=rf"a\.fer: unknown build options of its tensorrt engine: {message}"):
        export(bundle, tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("engine", "kind", "message"),
    [
        (
            "tensorrt",
            "cpu",
            "Triton's tensorrt backend runs on GPUs only; instance_kind is cpu: choose gpu, or another",
        ),
        (
            "openvino",
            "gpu",
            "Triton's openvino backend runs on CPUs only; instance_kind is gpu: choose cpu, or another",
        ),
    ],
)
def test_instance_kinds_without_a_backend_are_refused(
    tmp_path: Path, engine: str, kind: InstanceKind, message: str
) -> None:
    path = tmp_path / "a.fer"
    bundle = plan_bundle(path) if engine == "tensorrt" else tiny_bundle(path)
    with pytest.raises(UnsupportedTargetError, match=message):
        export(bundle, tmp_path / "models", engine=engine, instance_kind=kind)
    assert not (tmp_path / "models").exists()


def test_engines_without_a_backend_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.fer"
    entry = EngineEntry("tensorrt-rtx", ("sm89",), "1.7", "engines/x", None)
    write_bundle(path, tiny_manifest(engines=(entry,)), {"model.onnx": tiny_onnx(), "engines/x": b"x"})
    with pytest.raises(
        UnsupportedTargetError,
        match="no backend for tensorrt-rtx; choose an engine of the bundle among openvino, onnxruntime, tensorrt",
    ):
        export(path, tmp_path)
    with pytest.raises(BundleError, match="has no engine tensorrt"):
        export(path, tmp_path, engine="tensorrt")
    with pytest.raises(ConfigError, match="instances is 0; expected a whole number >= 1"):
        export(path, tmp_path, instances=0)


@pytest.mark.parametrize("name", ["../evil", "/etc", "a\\b", "..", ""])
def test_model_name_cannot_leave_the_repository(tmp_path: Path, name: str) -> None:
    bundle = tiny_bundle(tmp_path / "tiny.fer", name=name)
    with pytest.raises(ConfigError, match="expected a plain folder name"):
        export(bundle, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_command_writes_a_model(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny.fer")
    named = ["--engine", "onnxruntime", "--model-name", "faces", "--instance-kind", "gpu"]
    result = fer_edge("bundle", "export-triton", bundle, "-o", tmp_path / "models", *named)
    assert result.returncode == 0, result.stderr
    assert "onnxruntime, batches of up to 8" in result.stdout and "start Triton with" not in result.stdout
    assert read(tmp_path / "models" / "faces").instance_group[0].kind == schema.ModelInstanceGroup.KIND_GPU
    assert (
        "'tpu' is not a choice; expected one of: cpu, gpu"
        in fer_edge("bundle", "export-triton", bundle, "--instance-kind", "tpu").stderr
    )
    refused = fer_edge("bundle", "export-triton", bundle, "-o", tmp_path / "refused", "--instance-kind", "gpu")
    assert refused.returncode == 1 and "openvino backend runs on CPUs only" in refused.stderr


def test_command_names_the_server_options(tmp_path: Path) -> None:
    bundle = plan_bundle(tmp_path / "a.fer", "11.4.0.106+", version_compatible=True)
    result = fer_edge("bundle", "export-triton", bundle, "-o", tmp_path / "models")
    assert "start Triton with --backend-config=tensorrt,version-compatible=true" in result.stdout, result.stderr
    output = json.loads(fer_edge("bundle", "export-triton", bundle, "-o", tmp_path / "models", "--json").stdout)
    assert output["server_options"] == ["--backend-config=tensorrt,version-compatible=true"]
    output = json.loads(
        fer_edge("bundle", "export-triton", plan_bundle(bundle), "-o", tmp_path / "others", "--json").stdout
    )
    assert (output["engine_version"], output["server_options"]) == ("11.4.0.106", [])


def int8_bundle(path: Path) -> Path:
    """Write a bundle of another model with the same labels and outputs."""
    write_bundle(path, tiny_manifest(precision="int8"), {"model.onnx": tiny_onnx(seed=1)})
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_model_is_not_replaced(tmp_path: Path) -> None:
    models, other = tmp_path / "models", int8_bundle(tmp_path / "b.fer")
    folder = export(tiny_bundle(tmp_path / "a.fer"), models)
    before = content(models)
    with pytest.raises(ConfigError) as refused:
        export(other, models)
    assert re.fullmatch(
        rf"{folder}/1 contains another model \(model\.onnx with SHA-256 \w{{12}}; the new one has SHA-256 \w{{12}}\); "
        r"add --model-version 2, --model-name, or --replace",
        str(refused.value),
    )
    assert content(models) == before
    export(other, models, replace=True)
    assert content(models) == {**before, "tiny/1/model.onnx": tiny_onnx(seed=1)}


def test_same_model_can_be_written_with_other_instances(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "a.fer")
    folder = export(bundle, tmp_path / "models")
    export(bundle, tmp_path / "models", instances=2)
    assert read(folder).instance_group[0].count == 2
    assert sorted(content(tmp_path / "models")) == ["tiny/1/model.onnx", "tiny/config.pbtxt", "tiny/labels.txt"]


def test_new_version_needs_the_same_configuration(tmp_path: Path) -> None:
    models = tmp_path / "models"
    folder = export(tiny_bundle(tmp_path / "a.fer"), models)
    export(int8_bundle(tmp_path / "b.fer"), models, model_version=2)
    assert (folder / "2" / "model.onnx").read_bytes() == tiny_onnx(seed=1)
    before = content(models)
    cases: dict[str, dict[str, Any]] = {
        "its labels are neutral, happiness, surprise, the new ones a, b, c": {"labels": ("a", "b", "c")},
        "its max_batch_size is 8, the new one 4": {"max_batch": 4},
        'its backend is "openvino", the new one "onnxruntime"': {"engines": tiny_manifest().engines[1:]},
    }
    for message, changes in cases.items():
        bundle = tiny_bundle(tmp_path / "c.fer", **changes)
        for replace in (False, True):
            with pytest.raises(ConfigError) as refused:
                export(bundle, models, model_version=3, replace=replace)
            assert str(refused.value) == (
                f"{folder} has version 1, 2 of another model: {message}; its versions share one configuration: "
                "name another --model-name"
            )
    assert content(models) == before


def test_same_file_for_another_backend_is_another_model(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "a.fer")
    folder = export(bundle, tmp_path / "models")
    with pytest.raises(
        ConfigError, match=r"has another configuration: its backend is .*; add --model-name, or --replace"
    ):
        export(bundle, tmp_path / "models", engine="onnxruntime")
    export(bundle, tmp_path / "models", engine="onnxruntime", replace=True)
    assert read(folder).backend == "onnxruntime"


def test_folder_of_an_interrupted_export_is_completed(tmp_path: Path) -> None:
    (tmp_path / "models" / "tiny" / "1").mkdir(parents=True)
    folder = export(tiny_bundle(tmp_path / "a.fer"), tmp_path / "models")
    assert sorted(content(folder)) == ["1/model.onnx", "config.pbtxt", "labels.txt"]


FULL_DISK = """
import resource, signal, sys
from fer_edge.errors import FerEdgeError
from fer_edge.export.triton import export_triton

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit is then an error, as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    export_triton(sys.argv[1], sys.argv[2], model_version=int(sys.argv[4]))
except FerEdgeError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("limit", [100, 900])  # bytes: too little for the model, too little for the configuration
def test_full_disk_leaves_no_files(tmp_path: Path, limit: int) -> None:
    def export_on_full_disk(path: Path, version: int) -> str:
        arguments = [sys.executable, "-c", FULL_DISK, str(path), str(models), str(limit), str(version)]
        return subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=ROOT).stdout

    models = tmp_path / "new" / "models"
    output = export_on_full_disk(tiny_bundle(tmp_path / "a.fer"), 1)
    assert re.fullmatch(rf"cannot write {models}/tiny/\S+: File too large; nothing was changed\n", output)
    assert not (tmp_path / "new").exists()
    export(tmp_path / "a.fer", models)
    before = content(models)
    assert "nothing was changed" in export_on_full_disk(int8_bundle(tmp_path / "b.fer"), 2)
    assert content(models) == before and sorted(path.name for path in (models / "tiny").iterdir()) == [
        "1", "config.pbtxt", "labels.txt",
    ]  # fmt: skip


def test_command_refuses_and_replaces(tmp_path: Path) -> None:
    models, other = tmp_path / "models", int8_bundle(tmp_path / "b.fer")
    assert fer_edge("bundle", "export-triton", tiny_bundle(tmp_path / "a.fer"), "-o", models).returncode == 0
    refused = fer_edge("bundle", "export-triton", other, "-o", models)
    assert refused.returncode == 2 and "add --model-version 2, --model-name, or --replace" in refused.stderr
    assert fer_edge("bundle", "export-triton", other, "-o", models, "--replace").returncode == 0
    same = fer_edge("bundle", "export-triton", other, "-o", other)
    assert same.returncode == 2 and "is also an input" in same.stderr
