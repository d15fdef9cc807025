"""Bundles: atomic writing, and checks of every byte on reading."""

from __future__ import annotations

import json
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge._files import file_sha256
from fer_edge.bundle import Bundle, EngineEntry, write_bundle
from fer_edge.engines.base import RunOptions
from fer_edge.engines.registry import get_engine, platform_tag
from fer_edge.errors import (
    BundleDamagedError,
    BundleError,
    BundleMismatchError,
    BundleVersionError,
    EngineUnavailableError,
    FerEdgeError,
)
from fer_edge.recognizer import shipped_bundle
from tests.access import TOO_LONG, no_more_files
from tests.tiny import tiny_bundle, tiny_manifest, tiny_onnx


def rewrite(path: Path, change: Any) -> None:
    """Write the bundle again with changed members and valid zip checksums."""
    with zipfile.ZipFile(path) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in change(members):
            archive.writestr(name, data)


def change_manifest(path: Path, **values: Any) -> None:
    def change(members: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        name, data = members[0]
        return [(name, json.dumps({**json.loads(data), **values}).encode()), *members[1:]]

    rewrite(path, change)


def test_round_trip_and_equal_bytes(tmp_path: Path) -> None:
    first, second = tiny_bundle(tmp_path / "a.fer"), tiny_bundle(tmp_path / "b.fer")
    assert first.read_bytes() == second.read_bytes()
    opened = Bundle.open(first)
    assert opened.manifest.labels == tiny_manifest().labels
    assert opened.read("model.onnx") == tiny_onnx()
    with opened.runner("onnxruntime") as runner:
        assert runner.infer(np.zeros((1, 112, 112, 3), np.uint8)).probabilities.shape == (1, 3)


def test_hash_of_the_content_in_memory(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    expected = file_sha256(path)
    bundle = Bundle.open(path, in_memory=True)
    path.write_bytes(b"replaced")
    assert bundle.sha256 == expected and bundle.read("model.onnx") == tiny_onnx()
    assert Bundle.open(tiny_bundle(path)).sha256 is None, "members are read from the file, which may change"


def test_missing_engine_is_named(tmp_path: Path) -> None:
    opened = Bundle.open(tiny_bundle(tmp_path / "a.fer"))
    with pytest.raises(BundleError, match="has no engine tensorrt-rtx; it has: openvino, onnxruntime"):
        opened.runner("tensorrt-rtx")


def test_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.fer").touch()
    with pytest.raises(BundleDamagedError, match=r"a\.fer is an empty file \(0 bytes\); expected a fer-edge bundle"):
        Bundle.open(tmp_path / "a.fer")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_bundle_is_damaged(tmp_path: Path, share: float) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BundleDamagedError, match="is not a bundle, or is truncated"):
        Bundle.open(path)


@pytest.mark.parametrize("member", ["manifest.json", "model.onnx", "engines/x.engine"])
@pytest.mark.parametrize("place", [0, 7, -1])
def test_flipped_byte_in_any_member_is_detected(tmp_path: Path, member: str, place: int) -> None:
    path = tmp_path / "a.fer"
    entry = EngineEntry("openvino", ("cpu",), "1", "engines/x.engine", None)
    members = {"model.onnx": tiny_onnx(), "engines/x.engine": b"engine bytes, fixed"}
    write_bundle(path, tiny_manifest(engines=(entry,)), members)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        content = archive.read(member)
    start = bytes(data).index(content)
    data[start + place % len(content)] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleDamagedError, match=member.replace(".", r"\.")):
        Bundle.open(path)


def test_changed_member_with_valid_zip_checksum_is_detected(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    rewrite(path, lambda members: [(n, d if n == "manifest.json" else d[:-1] + b"\x7f") for n, d in members])
    with pytest.raises(BundleDamagedError, match=r"model\.onnx differs from the SHA-256"):
        Bundle.open(path)


METHODS = {"deflate": zipfile.ZIP_DEFLATED, "bz2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}


@pytest.mark.parametrize("member", ["manifest.json", "model.onnx"])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_compressed_member_is_refused_without_unpacking(tmp_path: Path, method: int, member: str) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    members[member] += b" " * (32 << 20)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data, method if name == member else zipfile.ZIP_STORED)
    del members
    tracemalloc.start()
    try:
        expected = f"'{member}' is compressed .zip method {method}.*expected members stored uncompressed"
        with pytest.raises(BundleError, match=expected):
            Bundle.open(path)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def change_directory(path: Path, offset: int, pattern: str, value: int) -> None:
    """Overwrite a field of the first entry in the central directory of a zip file, which readers use."""
    data = bytearray(path.read_bytes())
    struct.pack_into(pattern, data, data.index(b"PK\x01\x02") + offset, value)
    path.write_bytes(data)


METHOD, STORED_SIZE, SIZE = (10, "<H"), (20, "<L"), (24, "<L")  # offset and type of fields of an entry


@pytest.mark.parametrize("size", [0, 100, 3 << 30])
def test_contradictory_sizes_are_damage(tmp_path: Path, size: int) -> None:
    for place in (SIZE, STORED_SIZE):
        path = tiny_bundle(tmp_path / "a.fer")
        change_directory(path, *place, size)
        with pytest.raises(
            BundleDamagedError, match=r"'manifest\.json' has size .* stored size .* expected equal sizes"
        ):
            Bundle.open(path)


def test_members_larger_than_the_file_are_damage(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    for place in (SIZE, STORED_SIZE):
        change_directory(path, *place, 3 << 30)
    with pytest.raises(BundleDamagedError, match="bytes, but its members have 32212"):
        Bundle.open(path)


def test_manifest_with_too_small_size_is_damage(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    for place in (SIZE, STORED_SIZE):
        change_directory(path, *place, 10)
    with pytest.raises(BundleDamagedError, match=r"manifest\.json cannot be read"):
        Bundle.open(path)


def test_compressed_member_marked_as_stored_is_damage(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    with zipfile.ZipFile(path) as archive:
        stored = archive.read("manifest.json")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", stored)
        packed = archive.infolist()[0].compress_size
    change_directory(path, *METHOD, zipfile.ZIP_STORED)
    change_directory(path, *SIZE, packed)
    with pytest.raises(BundleDamagedError, match=r"manifest\.json cannot be read: Bad CRC-32"):
        Bundle.open(path)


def test_shipped_bundle_is_uncompressed() -> None:
    with zipfile.ZipFile(shipped_bundle()) as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_change_after_opening_is_damage(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    opened = Bundle.open(path)
    rewrite(path, lambda members: members[:1])
    with pytest.raises(BundleDamagedError, match=r"model\.onnx was removed after the bundle was opened; open it again"):
        opened.read("model.onnx")
    path.unlink()
    with pytest.raises(BundleError, match=r"a\.fer cannot be read: No such file or directory"):
        opened.read("model.onnx")


UNUSABLE = [
    ({"labels": ()}, r"labels are \[\]; expected at least 2"),
    ({"labels": ("a",)}, r"labels are \['a'\]; expected at least 2"),
    ({"labels": ("a", "b", "a")}, "expected unique labels"),
    ({"labels": ("a", "b", " ")}, "expected unique labels that are not empty"),
    ({"labels": ("a", "b", "\ud800")}, r"\\ud800.* contains unprintable characters; expected printable text"),
    ({"labels": ("a", "b", "\x1b[31m")}, r"x1b\[31m.* contains unprintable characters"),
    ({"name": "\x1b[31m"}, "contains unprintable characters"),
    ({"checkpoint": {"provenance": {"data": ["a\nb", "\x1b]0;x\x07"]}}}, "contains unprintable characters"),
    ({"checkpoint": {"metrics": {"\ud800": 1}}}, "contains unprintable characters"),
    ({"created_with": {"torch": 3}}, r"created_with\.torch is 3; expected a string"),
    ({"words": ("a", "b")}, "2 words for 3 labels; expected one per label, or none"),
    ({"head": "foo"}, "head is 'foo'; expected one of: label, text, mean"),
    ({"max_batch": True}, "max_batch is True; expected a whole number from 1 to 1024"),
    ({"max_batch": 0}, "max_batch is 0; expected a whole number from 1 to 1024"),
]


@pytest.mark.parametrize(("values", "message"), UNUSABLE)
def test_invalid_values_are_neither_read_nor_written(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    before = path.read_bytes()
    with pytest.raises(BundleError, match=f"not written, since it could not be opened again: .*{message}"):
        tiny_bundle(path, **values)
    assert path.read_bytes() == before
    change_manifest(path, **values)
    with pytest.raises(BundleDamagedError, match=rf"invalid manifest\.json: .*{message}"):
        Bundle.open(path)


def test_unknown_values_are_not_written(tmp_path: Path) -> None:
    for values in ({"precision": "int4"}, {"checkpoint": {"metrics": {"a": object()}}}):
        with pytest.raises(BundleError, match="not written, since it could not be opened again"):
            tiny_bundle(tmp_path / "a.fer", **values)
    assert not any(tmp_path.iterdir())


def test_notes_may_contain_newlines_and_any_script(tmp_path: Path) -> None:
    notes = {"provenance": {"data": "two\n\tlines, 表情, \u00a0"}}
    path = tiny_bundle(tmp_path / "a.fer", checkpoint=notes, labels=("中性", "joie", "très surpris"), words=())
    assert Bundle.open(path).manifest.checkpoint == notes


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", "a\\b", "C:evil", "a//b", "a\x1b[31m"])
def test_unsafe_member_names_are_refused(tmp_path: Path, name: str) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    rewrite(path, lambda members: [*members, (name, b"x")])
    with pytest.raises(BundleError, match=r"unsafe member name .*; expected a plain relative path"):
        Bundle.open(path)
    with pytest.raises(BundleError, match="unsafe member name"):
        write_bundle(path, tiny_manifest(), {"model.onnx": b"", name: b""})


def test_unlisted_and_missing_members_are_detected(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    rewrite(path, lambda members: [*members, ("extra", b"x")])
    with pytest.raises(BundleDamagedError, match=r"members not in the manifest: \['extra'\]"):
        Bundle.open(path)
    path = tiny_bundle(tmp_path / "b.fer")
    rewrite(path, lambda members: members[:1])
    with pytest.raises(BundleDamagedError, match=r"missing: \['model\.onnx'\]"):
        Bundle.open(path)


def test_unknown_format_is_refused(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    change_manifest(path, format=99)
    with pytest.raises(BundleVersionError, match="has bundle format 99; this version reads 1"):
        Bundle.open(path)


@pytest.mark.parametrize(
    "values",
    [
        {"files": []},
        {"files": {"model.onnx": 3}},
        {"engines": 5},
        {"engines": [{"engine": 1}]},
        {"labels": "abc"},
        {"labels": [1, 2]},
        {"max_batch": "8"},
        {"max_batch": 10**9},
        {"surprise": 1},
        {"precision": None},
    ],
)
def test_malformed_manifest_is_damage(tmp_path: Path, values: dict[str, Any]) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    change_manifest(path, **values)
    with pytest.raises(BundleDamagedError):
        Bundle.open(path)


BUILT_WITH = {"weights": "inside", "optimal_batches": [1, 8], "tf32": False, "workspace_mb": None}


def test_entry_records_build_options(tmp_path: Path) -> None:
    bundle = rtx_bundle(tmp_path / "a.fer", options=BUILT_WITH)
    assert bundle.entry().options == BUILT_WITH


def test_entry_without_options_has_the_former_format(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    with zipfile.ZipFile(path) as archive:
        stored = json.loads(archive.read("manifest.json"))["engines"]
    assert [set(entry) for entry in stored] == [
        {"engine", "targets", "engine_version", "file", "platform", "proof"} for _ in tiny_manifest().engines
    ]
    assert Bundle.open(path).entry().options == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["weights"], r"engines\[0\]\.options is \['weights'\]; expected a table"),
        (None, r"engines\[0\]\.options is None; expected a table"),
        ({"weights": {"a": 1}}, r"engines\[0\]\.options\.weights is \{'a': 1\}; expected a plain value or a list"),
        ({"optimal_batches": [[1]]}, r"engines\[0\]\.options\.optimal_batches\[0\] is \[1\]; expected a plain value"),
    ],
)
def test_nested_options_are_refused(tmp_path: Path, options: Any, message: str) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    entry = {"engine": "openvino", "targets": ["cpu"], "engine_version": "1", "file": None, "platform": None}
    change_manifest(path, engines=[{**entry, "options": options}])
    with pytest.raises(BundleDamagedError, match=message):
        Bundle.open(path)


def test_unknown_precision_is_refused(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    change_manifest(path, precision="int4")
    with pytest.raises(BundleVersionError, match="has precision 'int4'; this version reads fp32, fp16"):
        Bundle.open(path)


def test_unknown_input_is_refused(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    change_manifest(path, input={"layout": "NCHW"})
    with pytest.raises(BundleVersionError, match="input"):
        Bundle.open(path)


def test_deeply_nested_manifest_is_refused(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    nested = b"[" * 100_000 + b"]" * 100_000
    rewrite(path, lambda members: [(name, nested if name == "manifest.json" else data) for name, data in members])
    with pytest.raises(BundleDamagedError, match=r"invalid manifest\.json"):
        Bundle.open(path)


def rtx_bundle(path: Path, **changes: Any) -> Bundle:
    values = {"targets": ("sm89",), "engine_version": "0", "file": "engines/x", "platform": None}
    entry = EngineEntry("tensorrt-rtx", **{**values, **changes})
    write_bundle(path, tiny_manifest(engines=(entry,)), {"model.onnx": tiny_onnx(), "engines/x": b"x"})
    return Bundle.open(path)


def test_engine_files_for_other_machines_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rtx = get_engine("tensorrt-rtx")
    monkeypatch.setattr(rtx, "version", lambda: "1.7")
    monkeypatch.setattr(rtx, "local_target", lambda device: ("sm86", "sm89")[device])
    with pytest.raises(BundleMismatchError, match=f"was built for plan9-mips; this machine is {platform_tag()}"):
        rtx_bundle(tmp_path / "a.fer", platform="plan9-mips").runner()
    with pytest.raises(BundleMismatchError, match=r"built with tensorrt-rtx 0; installed is 1\.7"):
        rtx_bundle(tmp_path / "b.fer").runner()
    with pytest.raises(BundleMismatchError, match="was built for sm89; this device is sm86; rebuild it with"):
        rtx_bundle(tmp_path / "c.fer", engine_version="1.7").runner()
    with pytest.raises(EngineUnavailableError):
        rtx_bundle(tmp_path / "d.fer", engine_version="1.7", targets=("sm86",)).runner()
    with pytest.raises(BundleMismatchError, match="was built for sm86; this device is sm89"):
        rtx_bundle(tmp_path / "e.fer", engine_version="1.7", targets=("sm86",)).runner(options=RunOptions(device=1))


def test_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FerEdgeError, match=r"cannot write .*; nothing was changed"):
        tiny_bundle(tmp_path / "file" / "a.fer")
    with pytest.raises(BundleError, match=r"a bundle needs model\.onnx"):
        write_bundle(tmp_path / "a.fer", tiny_manifest(), {})
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_operating_system_errors_are_not_damage(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    opened = Bundle.open(path)
    for use in (lambda: Bundle.open(path), lambda: opened.read("model.onnx")):
        with no_more_files(), pytest.raises(BundleError) as caught:
            use()
        assert str(caught.value) == f"{path} cannot be read: Too many open files"
        assert not isinstance(caught.value, BundleDamagedError)
    with pytest.raises(BundleError, match="cannot be read: File name too long"):
        Bundle.open(tmp_path / TOO_LONG)
    for missing in (path / "below a file", tmp_path):
        with pytest.raises(BundleError, match="no bundle at"):
            Bundle.open(missing)
