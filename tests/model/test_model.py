"""Configurations, checkpoints and text features."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from fer_edge._settings import convert
from fer_edge.errors import CheckpointError, ConfigError
from fer_edge.labels import FERPLUS, LABEL_SETS, TEMPLATES, fill_template, prompts_for
from fer_edge.model.checkpoint import METADATA_KEY, load_checkpoint, read_checkpoint_info
from fer_edge.model.config import ModelConfig, preset
from fer_edge.model.ferformer import FERFormer
from fer_edge.model.heads import fold_text_features
from fer_edge.model.text import (
    PromptFeatures,
    TextFeatures,
    load_text_features,
    replace_text_features,
    save_text_features,
    text_features_from_tower,
)
from fer_edge.model.tower import open_text_tower
from fer_edge.shipped import shipped_names
from tests.tiny_model import tiny_checkpoint, tiny_config


def write_metadata(path: Path, text: str) -> Path:
    save_file({"x": torch.zeros(1)}, path, {METADATA_KEY: text})
    return path


def test_presets_are_complete() -> None:
    assert shipped_names("preset") == ["edge", "edge-ir", "edge-tiny", "paper", "release", "teacher"]
    paper = preset("paper", classes=7)
    assert (paper.patches, paper.depth, paper.dim, paper.heads, paper.patch_tokens) == ((2, 4, 6, 12), 16, 256, 4, 50)
    assert preset("release", classes=7).text_token == "class"
    with pytest.raises(ConfigError, match="no shipped preset 'huge'; expected one of: edge, edge-ir, edge-tiny, paper"):
        preset("huge", classes=7)


def test_edge_is_within_its_size_and_cost() -> None:
    model = FERFormer(preset("edge", classes=8)).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) <= 3_000_000
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.zeros(1, 3, 112, 112))
    assert counter.get_total_flops() <= 0.25e9


ABLATIONS: dict[str, tuple[dict[str, Any], int]] = {
    "Table IV, neither": ({"patches": (2,), "text_head": False}, 36),
    "Table IV, MGEI": ({"text_head": False}, 50),
    "Table IV, HDSS": ({"patches": (2,)}, 36),
    "Table VI, 3*3": ({"patches": (3,)}, 16),
    "Table VI, 4*4": ({"patches": (4,)}, 9),
    "Table VI, 6*6": ({"patches": (6,)}, 4),
    "Table VI, (2,4,6)": ({"patches": (2, 4, 6)}, 49),
    "Table VI, (2,4,6,12)": ({"patches": (2, 4, 6, 12)}, 50),
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_has_a_configuration(name: str) -> None:
    changes, tokens = ABLATIONS[name]
    model = FERFormer(tiny_config(**changes)).eval()
    assert model.config.patch_tokens == tokens
    with torch.inference_mode():
        output = model(torch.zeros(2, 3, 112, 112))
    assert output.label_logits.shape == (2, 8)
    assert (output.text_logits is None) == (not model.config.text_head)
    assert convert(asdict(model.config), ModelConfig, "model") == model.config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patches": (5,)}, "expected sides that divide the grid, 12"),
        ({"patches": (2, 2)}, "expected each side once"),
        ({"grid": 15}, "expected 1 to 14"),
        ({"heads": 3}, "dim 16 is not a multiple of heads 3"),
        ({"classes": 1}, "classes is 1; expected a whole number from 2 to 8192"),
        ({"heads": 0}, "heads is 0; expected a whole number from 1 to 8192"),
        ({"patches": (0,)}, r"patches\[0\] is 0; expected a whole number from 1 to 112"),
        ({"text_dim": 0}, "text_dim is 0; expected a whole number from 1 to 8192"),
        ({"depth": 0}, "depth is 0; expected a whole number from 1 to 64"),
        ({"depth": 2.0}, r"depth is 2\.0; expected a whole number"),
        ({"depth": 10**7}, "depth is 10000000; expected a whole number from 1 to 64"),
        ({"token_norm": "no"}, "token_norm is 'no'; expected true or false"),
        ({"text_scale": float("nan")}, "text_scale is nan; expected a finite number from 1e-06"),
        ({"text_token": "word"}, "text_token is 'word'; expected one of: steering, class"),
        ({"stem": 5}, "stem is 5; expected a table of names and values"),
    ],
)
def test_invalid_configurations_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_config(**changes)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"classes": 3, "colour": "red"}, r"model\.colour is not known; expected some of"),
        ({"classes": 3, "dept": 2}, r"model\.dept is not known; did you mean model\.depth\?"),
        ({"dim": 16}, r"model\.classes is missing; expected a whole number from 2 to 8192"),
        ({"classes": 3, "stem": {"color": "blue"}}, r"stem\.color is 'blue'; expected one of: rgb, grey"),
        ({"classes": 3, "stem": {"input_stride": True}}, r"stem\.input_stride is True; expected one of: 1, 2"),
        ({"classes": 3, "stem": {"units": [3, 4]}}, "3 stages and stem.units 2; expected the same number"),
        (
            {"classes": 3, "stem": {"input_stride": 4, "input_kernel": 3}},
            r"stem\.input_kernel is 3 and stem\.input_stride 4; expected a kernel of at least the stride",
        ),
        ({"classes": 3, "stem": 5}, r"model\.stem is 5; expected a table"),
        ([], r"model is \[\]; expected a table"),
    ],
)
def test_invalid_configuration_data_is_refused(data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(data, ModelConfig, "model")


def test_patches_are_cut_in_reading_order() -> None:
    tokens = FERFormer(tiny_config(position_encoding=False)).tokens
    x = torch.arange(2 * 12 * 12).view(1, 2, 12, 12).float()
    for patch in (2, 4, 6, 12):
        cut = tokens._cut(x, patch)
        for index in range((12 // patch) ** 2):
            row, column = divmod(index, 12 // patch)
            piece = x[0, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            assert torch.equal(cut[0, index], piece.permute(1, 2, 0).flatten())


def test_checkpoints_round_trip(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint()
    checkpoint.save(tmp_path / "a.safetensors")
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert loaded.info == checkpoint.info == read_checkpoint_info(tmp_path / "a.safetensors")
    state = checkpoint.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in loaded.model.state_dict().items())
    checkpoint.save(tmp_path / "h.safetensors", half=True)
    half = load_checkpoint(tmp_path / "h.safetensors").model.state_dict()
    torch.testing.assert_close(half["label_head.weight"], state["label_head.weight"], rtol=1e-3, atol=1e-4)
    assert torch.equal(half["stem.input.1.running_var"], state["stem.input.1.running_var"])


def test_grey_checkpoints_restore_luma(tmp_path: Path) -> None:
    from fer_edge.model.config import StemConfig

    stem = StemConfig(color="grey", input_width=8, input_stride=2, widths=(8, 12), units=(1, 1))
    checkpoint = tiny_checkpoint(stem=stem)
    checkpoint.save(tmp_path / "g.safetensors")
    images = torch.randn(1, 3, 112, 112)
    with torch.inference_mode():
        expected = checkpoint.model(images).label_logits
        assert torch.equal(load_checkpoint(tmp_path / "g.safetensors").model(images).label_logits, expected)


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_checkpoint(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="made by another program: fer-edge checkpoint import reads such weights"):
        load_checkpoint(path)
    checkpoint = tiny_checkpoint()
    checkpoint.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        CheckpointError, match=r"a\.safetensors is a damaged checkpoint \(.*\): copy or download it again"
    ):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="2 labels and 8 words for 8 classes"):
        checkpoint.with_info(labels=("a", "b"))
    with pytest.raises(CheckpointError, match="no text head; expected label"):
        tiny_checkpoint(text_head=False, head="mean")


def test_checkpoint_that_pytorch_cannot_open_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_checkpoint().save(tmp_path / "a.safetensors")

    def refuse(*arguments: object, **options: object) -> None:
        raise RuntimeError("unable to open file in read-only mode: Input/output error (5)")

    monkeypatch.setattr(torch.UntypedStorage, "from_file", refuse)  # safetensors maps the file by it
    with pytest.raises(CheckpointError, match=r"a\.safetensors cannot be read: unable to open file .* \(5\)$"):
        load_checkpoint(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {"heads": 0}}, "heads is 0; expected a whole number from 1 to 8192"),
        ({"config": {"patches": [0]}}, r"patches\[0\] is 0; expected a whole number from 1 to 112"),
        ({"config": {"depth": 10**7}}, "depth is 10000000; expected a whole number from 1 to 64"),
        ({"labels": list(range(8))}, r"labels\[0\] is 0; expected a string"),
        ({"templates": "word"}, "templates is 'word'; expected a list, each a string"),
        ({"mean": [0.5, 0.5]}, r"mean is \[0\.5, 0\.5\]; expected a list of 3, each a finite number"),
        ({"std": [0.0, 1.0, 1.0]}, "std is .*; expected values above 0"),
        ({"head": "both"}, "head is 'both'; expected one of: label, text, mean"),
        ({"metric": {}}, r"metadata\.metric is not known; did you mean metadata\.metrics\?"),
    ],
)
def test_invalid_metadata_values_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    metadata = json.loads(tiny_checkpoint().info.to_json())
    metadata["config"].update(changes.pop("config", {}))
    path = write_metadata(tmp_path / "a.safetensors", json.dumps({**metadata, **changes}))
    with pytest.raises(CheckpointError, match=rf"a\.safetensors: checkpoint metadata not understood: .*{message}"):
        read_checkpoint_info(path)


def test_invalid_metadata_is_refused(tmp_path: Path) -> None:
    for text, message in (
        ("[" * 100_000, "recursion"),
        ("[]", "expected a table"),
        ('{"format": 1}', "config is missing; expected a table"),
        ('{"format": 9}', r"a\.safetensors: checkpoint format 9; this version reads 1: update fer-edge"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(write_metadata(tmp_path / "a.safetensors", text))


def test_a_huge_configuration_allocates_no_memory(tmp_path: Path) -> None:
    metadata = json.loads(tiny_checkpoint().info.to_json())
    metadata["config"].update(dim=8192, depth=64, mlp_ratio=64)  # 4 TB
    with pytest.raises(CheckpointError, match="tensors missing"):
        load_checkpoint(write_metadata(tmp_path / "a.safetensors", json.dumps(metadata)))


def test_prompts_match_table_v() -> None:
    assert list(TEMPLATES) == ["none", "word", "phrase", "active", "passive"]
    assert fill_template(TEMPLATES["passive"][0], "angry") == "an angry expression is shown in the image"
    assert fill_template(TEMPLATES["passive"][0], "sad") == "a sad expression is shown in the image"
    assert prompts_for(("happy",), TEMPLATES["active"]) == [["this is a face image of happy"]]
    with pytest.raises(ConfigError, match=r"has no \{\} for the expression's word"):
        fill_template("a face", "sad")


def test_label_sets_have_the_official_order() -> None:
    orders = {
        "rafdb": "surprise fear disgust happiness sadness anger neutral",
        "ferplus": "neutral happiness surprise sadness anger disgust fear contempt",
        "sfew": "anger disgust fear happiness neutral sadness surprise",
    }
    assert {name: " ".join(labels.labels) for name, labels in LABEL_SETS.items()} == orders


def test_folding_matches_cosine_similarity() -> None:
    torch.manual_seed(0)
    features, weight, bias = torch.randn(5, 7), torch.randn(3, 7), torch.randn(3)
    matrix = fold_text_features(features, weight, bias, 20.0)
    token = torch.randn(3)
    for index in range(5):
        expected = 20 * F.cosine_similarity(token, weight @ features[index] + bias, dim=0)
        torch.testing.assert_close(token / token.norm() @ matrix[:, index], expected)


def features_one_by_one(tower: Any, words: tuple[str, ...], templates: tuple[str, ...]) -> torch.Tensor:
    rows = []
    for word in words:
        total = sum(F.normalize(tower([fill_template(text, word)])[0], dim=0) for text in templates)
        rows.append(F.normalize(total, dim=0))  # type: ignore[arg-type]
    return torch.stack(rows)


@pytest.mark.slow
def test_text_features_match_one_label_at_a_time(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip", reason="needs the train extra")
    config = tmp_path / "fer-tiny.json"
    config.write_text(
        '{"embed_dim": 32, "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16,'
        ' "head_width": 16},'
        ' "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}}'
    )
    open_clip.add_model_config(config)
    torch.manual_seed(0)
    tower = open_text_tower("fer-tiny", "untrained")
    templates = TEMPLATES["phrase"] + TEMPLATES["passive"]
    features = text_features_from_tower(tower, FERPLUS.words, templates)
    with torch.inference_mode():
        torch.testing.assert_close(features, features_one_by_one(tower, FERPLUS.words, templates), rtol=1e-4, atol=1e-5)
    PromptFeatures(tower, FERPLUS.words, templates)().sum().backward()
    # Distributed training waits for the gradient of every parameter.
    parameters = dict(tower.named_parameters())
    idle = [name for name, value in parameters.items() if value.requires_grad and value.grad is None]
    assert not idle and any(value.requires_grad for value in parameters.values())


def test_text_features_are_saved_loaded_and_set(tmp_path: Path) -> None:
    features = TextFeatures(F.normalize(torch.randn(8, 10), dim=1), FERPLUS.words, TEMPLATES["active"], "test")
    save_text_features(tmp_path / "t.safetensors", features)
    loaded = load_text_features(tmp_path / "t.safetensors")
    assert torch.equal(loaded.matrix, features.matrix)
    changed = replace_text_features(tiny_checkpoint().with_info(metrics={"validation_accuracy": 88.0}), loaded)
    assert changed.info.metrics == {}
    assert changed.info.templates == TEMPLATES["active"]
    assert torch.equal(changed.model.state_dict()["text_head.text_features"], features.matrix)
    with pytest.raises(CheckpointError, match="learned its text features"):
        replace_text_features(tiny_checkpoint().with_info(text_source="learned"), loaded)
    with pytest.raises(
        CheckpointError, match="trained with a fine-tuned text tower, which the checkpoint does not contain"
    ):
        replace_text_features(tiny_checkpoint().with_info(text_source="open_clip:ViT-B-32:openai, fine-tuned"), loaded)
    with pytest.raises(CheckpointError, match="the model has no text head"):
        replace_text_features(tiny_checkpoint(text_head=False), loaded)
    with pytest.raises(CheckpointError, match=r"text features of shape \(8, 4\); the model expects \(8, 10\)"):
        replace_text_features(tiny_checkpoint(), TextFeatures(torch.zeros(8, 4), FERPLUS.words, (), ""))
    with pytest.raises(CheckpointError, match="no text features at"):
        load_text_features(tmp_path / "none")
    tiny_checkpoint().save(tmp_path / "c.safetensors")
    with pytest.raises(CheckpointError, match="expected text features made with"):
        load_text_features(tmp_path / "c.safetensors")
