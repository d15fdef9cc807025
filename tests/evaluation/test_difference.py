"""`fer-edge bundle diff`: parts in which bundles differ, and the reasons."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from fer_edge.bundle import EngineEntry, write_bundle
from fer_edge.evaluation.difference import ABSENT, compare_bundles
from tests.command import fer_edge
from tests.tiny import tiny_bundle, tiny_manifest, tiny_onnx

PLAN = "engines/tensorrt-sm87.engine"


def plan_bundle(path: Path, plan: bytes, seed: int = 0, **options: bool) -> Path:
    """Write a bundle with an engine file of TensorRT."""
    entry = EngineEntry("tensorrt", ("sm87",), "11", PLAN, None, {"fallbacks": [], "macs": {"fp32": 1.0}}, {**options})
    members = {"model.onnx": tiny_onnx(seed=seed), PLAN: plan, PLAN.replace(".engine", ".layers.json"): plan}
    write_bundle(path, tiny_manifest(engines=(entry,)), members)
    return path


def test_equal_bundles_are_equal_under_any_name(tmp_path: Path) -> None:
    first, second = tiny_bundle(tmp_path / "a.fer"), tiny_bundle(tmp_path / "b.fer")
    result = compare_bundles(first, second)
    assert result.equal_bytes and result.equal_builds and not result.tables()
    done = fer_edge("bundle", "diff", first, second)
    assert (done.returncode, done.stdout) == (0, f"{first} and {second} are equal, byte for byte\n")


def test_plans_of_one_model_may_differ(tmp_path: Path) -> None:
    first, second = plan_bundle(tmp_path / "a.fer", b"123456"), plan_bundle(tmp_path / "b.fer", b"12ab56")
    done = fer_edge("bundle", "diff", first, second)
    assert done.returncode == 0, done.stderr
    assert f"{PLAN}: 2 of 6 bytes differ: kernels are chosen by their times on the GPU" in done.stdout
    assert f"{first} and {second} differ only where equal builds may" in done.stdout
    contents = json.loads(fer_edge("bundle", "diff", first, second, "--json").stdout)
    assert contents["equal_builds"] and not contents["equal_bytes"]
    assert [part["part"] for part in contents["differences"]] == [PLAN, PLAN.replace(".engine", ".layers.json")]
    assert all(len(part["first"]) == 64 for part in contents["differences"])


def test_plans_of_other_models_and_options_have_no_excuse(tmp_path: Path) -> None:
    first = plan_bundle(tmp_path / "a.fer", b"123456")
    for other in (
        plan_bundle(tmp_path / "model.fer", b"12ab56", seed=1),
        plan_bundle(tmp_path / "options.fer", b"12ab56", tf32=True),
    ):
        result = compare_bundles(first, other)
        assert not result.equal_builds
        assert not any(difference.reason for difference in result.differences)


def test_other_versions_and_engines_are_listed(tmp_path: Path) -> None:
    entry = EngineEntry("openvino", ("cpu",), "2026.4.1", None, None)
    first = tiny_bundle(tmp_path / "a.fer", created_with={"torch": "2.13"})
    second = tiny_bundle(tmp_path / "b.fer", engines=(entry,), max_batch=4)
    done = fer_edge("bundle", "diff", first, second)
    assert done.returncode == 1 and "differ in more than equal builds may" in done.stdout
    parts = {part.part: (part.first, part.second) for part in compare_bundles(first, second).differences}
    assert parts == {
        "manifest: created_with.torch": ("2.13", ABSENT),
        "manifest: engines.onnxruntime": ("1.32.0 for cpu", ABSENT),
        "manifest: max_batch": ("8", "4"),
        "manifest: order of the engines": ("openvino, onnxruntime", "openvino"),
    }


def test_other_zip_program_has_a_reason(tmp_path: Path) -> None:
    first, second = tiny_bundle(tmp_path / "a.fer"), tmp_path / "b.fer"
    with zipfile.ZipFile(first) as archive, zipfile.ZipFile(second, "w") as copy:
        for name in archive.namelist():
            copy.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), archive.read(name))
    result = compare_bundles(first, second)
    assert result.equal_builds and not result.equal_bytes
    assert [part.part for part in result.differences] == ["zip archive"]


def test_damaged_bundle_is_refused(tmp_path: Path) -> None:
    first = tiny_bundle(tmp_path / "a.fer")
    (tmp_path / "b.fer").write_bytes(first.read_bytes()[:-9])
    done = fer_edge("bundle", "diff", first, tmp_path / "b.fer")
    assert (done.returncode, done.stdout) == (1, "") and "is not a bundle, or is truncated" in done.stderr
