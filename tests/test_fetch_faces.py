"""Face networks: hashes, interface, and conversion from TFLite."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import onnx
import pytest

from fer_edge.errors import ConfigError
from fer_edge.shipped import face_network

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(scope="module")
def scripts() -> ModuleType:
    """Return the module `fetch_faces`."""
    spec = importlib.util.spec_from_file_location("fetch_faces", SCRIPTS / "fetch_faces.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fetch_faces"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "shape", "outputs"),
    [
        ("detector", ["batch", "height", "width", 3], {"boxes": 16, "scores": 1}),
        ("landmarks", ["batch", 192, 192, 3], {"landmarks": 3, "presence": 1}),
    ],
)
def test_networks_have_the_expected_hash_and_interface(
    scripts: ModuleType, name: str, shape: list[object], outputs: dict[str, int]
) -> None:
    try:
        data = face_network(name)
    except ConfigError as error:
        pytest.skip(str(error))
    assert scripts.sha256(data) == scripts.SOURCES[name].result
    assert not scripts.fetch(name)  # nothing to do
    graph = onnx.load_from_string(data).graph
    (port,) = graph.input
    assert port.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [size.dim_param or size.dim_value for size in port.type.tensor_type.shape.dim] == shape
    widths = {output.name: output.type.tensor_type.shape.dim[2].dim_value for output in graph.output}
    assert widths == outputs
    weights = [constant for constant in graph.initializer if len(constant.dims) == 4]
    assert {constant.data_type for constant in weights} == {onnx.TensorProto.FLOAT16}


def test_content_with_another_hash_is_refused(scripts: ModuleType) -> None:
    with pytest.raises(RuntimeError, match=r"a\.whl has SHA-256 [0-9a-f]{64}; expected 00"):
        scripts.check("a.whl", b"other", "00" * 32)


def test_licence_and_changes_are_beside_the_networks(scripts: ModuleType) -> None:
    text = (scripts.FOLDER / "README.md").read_text()
    for source in scripts.SOURCES.values():
        assert source.model in text and f"{source.package} {source.version}" in text
    assert "Apache License" in (scripts.FOLDER / "LICENSE").read_text()
