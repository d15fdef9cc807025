"""Weights of other programs: wrappers and prefixes of training scripts, invalid files."""

from __future__ import annotations

import argparse
import pickle
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from fer_edge._settings import convert
from fer_edge.errors import CheckpointError, FerEdgeError, NonFiniteError
from fer_edge.model.config import ModelConfig, StemConfig, preset
from fer_edge.model.ferformer import FERFormer
from fer_edge.model.foreign import ForeignWeights, read_foreign_weights
from fer_edge.model.release import BLOCK_PARTS, STEM_ALIAS, load_ir50, load_release, stem_name
from tests.tiny_model import tiny_checkpoint

Tensors = dict[str, Any]


def tiny_release() -> ModelConfig:
    """Return the release's structure with few channels."""
    stem = StemConfig(input_width=64, input_stride=2, widths=(64, 4), units=(1, 1))
    changes = {"patches": (2, 12), "dim": 8, "depth": 1, "heads": 2, "mlp_ratio": 1, "text_dim": 4}
    release = asdict(preset("release", classes=7))
    return convert({**release, **changes, "stem": stem.__dict__}, ModelConfig, "model")


@pytest.fixture(autouse=True)
def small_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer_edge.model.release.preset", lambda name, classes: tiny_release())


def evolve_name(name: str) -> str:
    """Return face.evoLVe's name of a tensor of the stem."""
    kind, index, rest = name.removeprefix("stem.").split(".", 2)
    if kind == "input":
        return f"input_layer.{index}.{rest}"
    part, last = rest.rsplit(".", 1)
    return f"body.{index}.{next(key for key, value in BLOCK_PARTS.items() if value == part)}.{last}"


@pytest.fixture(scope="module")
def weights() -> Tensors:
    return small_weights()


def small_weights() -> Tensors:
    """Return a small state dict with the authors' names, which contains the stem twice."""
    config = tiny_release()
    torch.manual_seed(0)
    state = FERFormer(config).state_dict()
    fixed = {
        "encoder.class_token": "vit.cls_token",
        "encoder.steering_token": "vit.clip_token",
        "label_head.weight": "vit.head.0.weight",
        "label_head.bias": "vit.head.0.bias",
        "text_head.projection.weight": "fc2.weight",
        "text_head.projection.bias": "fc2.bias",
    }
    result: Tensors = {}
    for name, tensor in state.items():
        if name.startswith("stem."):
            result[f"backbone.{evolve_name(name)}"] = result[f"{STEM_ALIAS}{evolve_name(name)}"] = tensor
        elif name.startswith("tokens.projections."):
            patch, last = name.removeprefix("tokens.projections.").split(".")
            result[f"token{({'2': 1, '12': 5})[patch]}.1.{last}"] = tensor
        elif name.startswith("tokens.norm."):
            result[f"vit.norm.{name.removeprefix('tokens.norm.')}"] = tensor
        elif name.startswith("encoder.blocks."):
            result[f"vit.{name.removeprefix('encoder.').replace('attention', 'attn')}"] = tensor
        elif name in fixed:
            result[fixed[name]] = tensor
    return result


def prefixed(prefix: str, weights: Tensors) -> Tensors:
    return {f"{prefix}{name}": value for name, value in weights.items()}


def cast(dtype: torch.dtype) -> Callable[[Tensors], Tensors]:
    return lambda weights: {k: v.to(dtype) if v.is_floating_point() else v for k, v in weights.items()}


def changed(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[Tensors], Tensors]:
    return lambda weights: {**weights, name: change(weights[name].clone())}


def recursive(weights: Tensors) -> Any:
    contents: Tensors = {"weights": weights}
    contents["self"] = contents
    return contents


FORMS: dict[str, tuple[Callable[[Tensors], Any], str]] = {
    "plain": (lambda w: w, ""),
    "ordered parameters": (lambda w: OrderedDict((k, _parameter(v)) for k, v in w.items()), ""),
    "data parallel": (lambda w: {"epoch": 3, "state_dict": prefixed("module.", w), "opt": {}}, "state_dict.module."),
    "compiled": (lambda w: prefixed("_orig_mod.", w), "_orig_mod."),
    "compiled, data parallel": (lambda w: prefixed("module._orig_mod.", w), "module._orig_mod."),
    "data parallel, compiled": (lambda w: {"net": prefixed("_orig_mod.module.", w)}, "net._orig_mod.module."),
    "Lightning": (lambda w: {"state_dict": prefixed("model.", w), "loops": {"fit": [1, 2]}}, "state_dict.model."),
    "Lightning, net": (lambda w: {"state_dict": prefixed("net.", w)}, "state_dict.net."),
    "nested": (lambda w: {"model": {"state_dict": w}}, "model.state_dict."),
    "EMA alone": (lambda w: {"ema_state_dict": prefixed("module.", w), "decay": 0.9}, "ema_state_dict.module."),
    "average of weights": (lambda w: {**prefixed("module.", w), "n_averaged": torch.tensor(3)}, "module."),
    "another key": (lambda w: {"student_weights": w}, "student_weights."),
    "list": (lambda w: [w], "0."),
    "half": (cast(torch.float16), ""),
    "bfloat16": (cast(torch.bfloat16), ""),
    "double": (cast(torch.float64), ""),
    "NumPy scalar": (lambda w: {"state_dict": w, "best": np.float64(91)}, "state_dict."),
    "arguments": (lambda w: {"state_dict": w, "args": argparse.Namespace(out=Path("runs"))}, "state_dict."),
    "meters": (lambda w: {"w": w, "log": defaultdict(list, a=[1]), "last": deque([1], maxlen=3)}, "w."),
    "a part a module": (
        lambda w: {part: {k.removeprefix(f"{part}."): v for k, v in w.items() if k.startswith(f"{part}.")}
                   for part in ("backbone", "vit", "token1", "token5", "fc2")},
        "",
    ),
    "recursive": (recursive, "weights."),
    "without counters": (lambda w: {k: v for k, v in w.items() if not k.endswith("num_batches_tracked")}, ""),
}  # fmt: skip


def _parameter(tensor: Tensor) -> Tensor:
    return nn.Parameter(tensor) if tensor.is_floating_point() else tensor


@pytest.mark.parametrize("form", FORMS)
def test_every_wrapper_is_imported(form: str, weights: Tensors, tmp_path: Path) -> None:
    wrap, prefix = FORMS[form]
    torch.save(wrap(weights), tmp_path / "a.pth")
    checkpoint, report = load_release(read_foreign_weights(tmp_path / "a.pth"))
    state = checkpoint.model.state_dict()
    assert (report.prefix, report.others) == (prefix, ())
    assert torch.allclose(state["label_head.weight"], weights["vit.head.0.weight"], rtol=1e-2, atol=1e-3)
    assert torch.allclose(state["stem.blocks.1.conv2.weight"], weights["backbone.body.1.res_layer.3.weight"], rtol=1e-2)
    assert all(tensor.dtype == torch.float32 for tensor in state.values() if tensor.is_floating_point())


def test_format_is_recognised_by_content(weights: Tensors, tmp_path: Path) -> None:
    names = ("a.safetensors", "a.bin", "a.npz", "b.pth", "old.ckpt", "a.tar")
    paths = [tmp_path / name for name in names]
    tensors = {name: tensor.clone() for name, tensor in prefixed("module.", weights).items()}
    save_file(tensors, paths[0])
    save_file(tensors, paths[1])
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    np.savez(paths[2], names=np.array(["a"]), **arrays)
    paths[2].rename(paths[2].with_suffix(".zip"))
    paths[2] = paths[2].with_suffix(".zip")
    for path in paths[3:]:
        torch.save(tensors, path, _use_new_zipfile_serialization=path.suffix != ".ckpt")
    for path in paths:
        assert load_release(read_foreign_weights(path))[1].prefix == "module."


def test_raw_weights_are_preferred_to_averaged_ones(weights: Tensors, tmp_path: Path) -> None:
    averaged = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    torch.save({"model_ema": averaged, "model": weights}, tmp_path / "a.pth")
    foreign = read_foreign_weights(tmp_path / "a.pth")
    checkpoint, report = load_release(foreign)
    assert (report.prefix, report.others) == ("model.", ("model_ema.",))
    assert checkpoint.model.label_head.weight.any()
    assert report.ignored["model_ema.vit.head.0.weight"] == "outside of the selected weights"
    checkpoint, report = load_release(foreign, "model_ema")
    assert (report.prefix, report.others) == ("model_ema.", ("model.",))
    assert not checkpoint.model.label_head.weight.any()
    with pytest.raises(CheckpointError, match="has no weights below 'ema'; it has weights below: model, model_ema"):
        load_release(foreign, "ema")


BIAS = "vit.head.0.bias"
REFUSED: dict[str, tuple[Callable[[Tensors], Any], type[FerEdgeError], str]] = {
    "NaN": (changed(BIAS, lambda t: t * float("nan")), NonFiniteError, "contains NaN or infinity: 7 of"),
    "infinity": (changed(BIAS, lambda t: t + float("inf")), NonFiniteError, "contains NaN or infinity: 7 of 7 values"),
    "beyond float32": (changed(BIAS, lambda t: t.double() + 1e300), NonFiniteError, r"1e\+300, beyond float32's"),
    "negative variance": (
        changed("vit.norm.running_var", lambda t: -t), CheckpointError, "vit.norm.running_var contains negative values",
    ),
    "whole numbers": (
        changed(BIAS, lambda t: t.to(torch.int8)), CheckpointError, "is of type int8; expected floating point",
    ),
    "eight classes": (
        lambda w: {**w, "vit.head.0.weight": torch.zeros(8, 8), BIAS: torch.zeros(8)}, CheckpointError,
        r"vit.head.0.weight \(8, 8\), expected \(7, 8\).*has 8 classes, the authors' release RAF-DB's 7",
    ),
    "another network": (
        lambda w: {"conv1.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}, CheckpointError,
        "is not the FER-former authors' checkpoint: its 2 tensors have names such as 'conv1.weight', 'fc.bias'; "
        "expected names such as vit.head.0.weight",
    ),
    "IR_50": (
        lambda w: {k.removeprefix("backbone."): v for k, v in w.items() if k.startswith("backbone.")}, CheckpointError,
        "these are weights of face.evoLVe's IR_50; import them with --stem-only",
    ),
    "IR_50 below a prefix": (
        lambda w: {k: v for k, v in w.items() if k.startswith("backbone.")}, CheckpointError,
        "'backbone.input_layer.*; import a stem alone with --stem-only",
    ),
    "fer-edge": (
        lambda w: {"model": tiny_checkpoint().model.state_dict()}, CheckpointError,
        "weights are from fer-edge, such as a resume file; use best.safetensors in the same folder",
    ),
    "some missing": (
        lambda w: {k: v for k, v in w.items() if not k.startswith("fc2")}, CheckpointError,
        r"2 of \d+ tensors are missing, among them: text_head.projection.bias, text_head.projection.weight; its \d+ ",
    ),
    "no tensors": (
        lambda w: {"epoch": 3, "state_dict": {}}, CheckpointError,
        r"contains no tensors: it has epoch \(int\), state_dict \(empty dict\); expected a state dict",
    ),
    "an empty dictionary": (lambda w: {}, CheckpointError, "contains no tensors: it is an empty dictionary"),
    "a number": (lambda w: 3, CheckpointError, "contains no tensors: it is a Python int"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_weights_are_refused(case: str, weights: Tensors, tmp_path: Path) -> None:
    change, error, message = REFUSED[case]
    torch.save(change(weights), tmp_path / "a.pth")
    with pytest.raises(error, match=message) as refusal:
        load_release(read_foreign_weights(tmp_path / "a.pth"))
    assert str(refusal.value).startswith(f"{tmp_path / 'a.pth'}") and "\n" not in str(refusal.value)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("executed",))


class Model(nn.Linear):
    pass


@pytest.mark.parametrize(("contents", "name"), [(Bomb(), "print"), (Model(2, 2), "tests.model.test_foreign.Model")])
def test_python_objects_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], contents: Any, name: str
) -> None:
    path = tmp_path / "a.pth"
    torch.save({"x": contents}, path)
    with pytest.raises(
        CheckpointError, match=rf"contains Python objects \(\S*{name}\).* save the state dict alone"
    ) as error:
        read_foreign_weights(path)
    path.write_bytes(pickle.dumps(contents))
    with pytest.raises(CheckpointError):
        read_foreign_weights(path)
    assert "executed" not in capsys.readouterr().out
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value) and "weights_only" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is an empty file"),
        (b"<!DOCTYPE html><html>Virus scan warning</html>", "is an HTML page, such as a failed download leaves behind"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of git-lfs: run git lfs pull"),
        (b"PK\x03\x04 cut", "is a damaged zip archive"),
        (b"\x1f\x8b\x08\0", "is a gzip archive; expected weights in a .pth, .safetensors or .npz file"),
        (b'{"weight_map": {}}', "is a JSON file"),
        (pickle.dumps({"a": np.zeros(2)}, protocol=5), "is a Python pickle"),
    ],
)
def test_files_of_other_kinds_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=message) as error:
        read_foreign_weights(path)
    assert "\n" not in str(error.value) and "weights_only" not in str(error.value)


def test_folders_cut_files_and_files_of_fer_edge_are_refused(tmp_path: Path, weights: Tensors) -> None:
    with pytest.raises(CheckpointError, match="no file at"):
        read_foreign_weights(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="is a folder; name a file of weights in it"):
        read_foreign_weights(tmp_path)
    tiny_checkpoint().save(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="is a fer-edge checkpoint, not weights of another program"):
        read_foreign_weights(tmp_path / "a.safetensors")
    save_file({"a": torch.zeros(9)}, tmp_path / "b.safetensors")
    torch.save(weights, tmp_path / "b.pth")
    for path in (tmp_path / "b.safetensors", tmp_path / "b.pth"):
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(
            CheckpointError, match=r"is a damaged zip archive|is damaged \(.*\): copy or download it again"
        ):
            read_foreign_weights(path)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"is a TorchScript archive.*torch\.jit\.load\(FILE\)\.state_dict\(\)"):
        read_foreign_weights(tmp_path / "a.pt")


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.", "module.backbone.", "state_dict.encoder.stem."])
def test_a_stem_is_imported_from_any_prefix(weights: Tensors, prefix: str) -> None:
    stem = {k.removeprefix("backbone."): v for k, v in weights.items() if k.startswith("backbone.")}
    report = load_ir50(FERFormer(tiny_release()), ForeignWeights("ir50.pth", prefixed(prefix, stem)))
    assert report.prefix == prefix and all(name.startswith("stem.") for name in report.used.values())
    assert all(stem_name(name) == target for name, target in report.used.items())


@given(st.lists(st.sampled_from(["module", "_orig_mod", "model", "net", "ema", "backbone", "vit", "a"]), max_size=5))
@settings(max_examples=40, deadline=None)
def test_any_prefix_is_taken_off(parts: list[str]) -> None:
    known = {"vit.head.0.weight": "head", "backbone.body.weight": "body"}
    prefix = "".join(f"{part}." for part in parts)
    foreign = ForeignWeights("a", prefixed(prefix, dict.fromkeys(known, torch.zeros(1))))
    selection = foreign.select(foreign.matches(known.get))
    assert (selection.prefix, set(selection.tensors)) == (prefix, set(known))
