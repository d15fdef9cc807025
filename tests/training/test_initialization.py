"""Initial state of runs: the paper's protocol, other label sets, trainable text towers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fer_edge._settings import convert
from fer_edge.errors import ConfigError, DataError
from fer_edge.labels import FERPLUS, RAFDB, SFEW
from fer_edge.model.checkpoint import load_checkpoint
from fer_edge.model.config import preset
from fer_edge.model.ferformer import FERFormer
from fer_edge.model.release import BLOCK_PARTS
from fer_edge.model.text import PromptFeatures, TextFeatures
from fer_edge.training.dataset import statistics
from fer_edge.training.initialization import Sources, initial_module, with_labels
from fer_edge.training.loop import Trainer
from fer_edge.training.recipe import Recipe, change_settings, read_recipe
from fer_edge.training.run import make_trainer
from tests.synthetic import make_ferplus, make_rafdb, make_sfew
from tests.tiny_model import tiny_checkpoint
from tests.training.test_loop import Quiet

SMALL = {
    "batch": 2, "text_model": "fer-tiny-prompts", "text_weights": "untrained", "limit_train": 4, "model.depth": 2,
}  # fmt: skip


@pytest.fixture
def tiny_tower(tmp_path: Path) -> None:
    """Register a tiny open_clip model, because the paper's ViT-B-32 is slow."""
    open_clip = pytest.importorskip("open_clip", reason="needs the train extra")
    vision = {"image_size": 32, "layers": 1, "width": 16, "patch_size": 16, "head_width": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = tmp_path / "fer-tiny-prompts.json"
    config.write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(config)


class Spelling(nn.Module):
    """Text tower that averages embeddings of letters."""

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(128, 10)

    def forward(self, prompts: list[str]) -> Tensor:
        rows = [self.letters(torch.tensor([ord(letter) for letter in prompt])).mean(dim=0) for prompt in prompts]
        return torch.stack(rows)


def ir50_weights(path: Path) -> Path:
    """Write random weights with face.evoLVe's names."""
    names = {target: name for name, target in BLOCK_PARTS.items()}
    tensors = {}
    for name, value in FERFormer(preset("paper", classes=7)).stem.state_dict().items():
        if name.startswith("input."):
            tensors[f"input_layer.{name.removeprefix('input.')}"] = value
        else:
            _, block, rest = name.split(".", 2)
            part = next(target for target in names if rest.startswith(f"{target}."))
            tensors[f"body.{block}.{names[part]}.{rest.removeprefix(f'{part}.')}"] = value
    save_file({name: value.contiguous() for name, value in tensors.items()}, path)
    return path


def tower_embedding(run: Trainer) -> nn.Parameter:
    """Return the token embedding of the text tower."""
    assert run.module.text is not None
    parameters = cast(nn.Module, run.module.text.tower).named_parameters()
    return next(parameter for name, parameter in parameters if "token_embedding" in name)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_tower")
def test_the_papers_protocol_on_rafdb_and_sfew(tmp_path: Path) -> None:
    stem = ir50_weights(tmp_path / "ir50.safetensors")
    rafdb = convert(change_settings(read_recipe("paper-rafdb"), {**SMALL, "epochs": 1}), Recipe)
    run = make_trainer(rafdb, Sources(make_rafdb(tmp_path / "rafdb"), stem_weights=stem), tmp_path / "run")[0]
    embedding = tower_embedding(run)
    before = embedding.clone()
    assert run.info.mean == (0.5, 0.5, 0.5) and run.info.labels == RAFDB.labels
    run.run(Quiet())
    assert not torch.equal(embedding, before)
    best = load_checkpoint(tmp_path / "run" / "best.safetensors")
    assert best.info.text_source == "open_clip:fer-tiny-prompts:untrained, fine-tuned"
    assert best.info.provenance["validation"] == "RAF-DB test (aligned)"
    sfew = convert(change_settings(read_recipe("paper-sfew"), SMALL), Recipe)
    sources = Sources(make_sfew(tmp_path / "sfew"), init=tmp_path / "run" / "best.safetensors")
    after = make_trainer(sfew, sources, tmp_path / "sfew-run")[0]
    assert after.info.labels == SFEW.labels
    old, new = best.model.text_head, after.module.model.text_head
    assert old is not None and new is not None
    new_row, old_row = SFEW.labels.index("anger"), RAFDB.labels.index("anger")
    assert torch.equal(new.text_features[new_row], old.text_features[old_row])
    assert after.dry_run() > 0
    seeds = [
        make_trainer(
            convert(change_settings(read_recipe("paper-rafdb"), {**SMALL, "text": "learned", "seed": seed}), Recipe),
            Sources(tmp_path / "rafdb", stem_weights=stem),
            tmp_path / f"seed{seed}",
        )[0]
        for seed in (0, 1)
    ]
    first, second = (run.module.model.label_head.weight for run in seeds)
    assert not torch.equal(first, second)
    assert len(seeds[0].info.provenance["stem_sha256"]) == 64


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_tower")
def test_the_papers_protocol_on_ferplus(tmp_path: Path) -> None:
    recipe = convert(change_settings(read_recipe("paper-ferplus"), {**SMALL, "text": "frozen"}), Recipe)
    assert make_trainer(recipe, Sources(make_ferplus(tmp_path)), tmp_path / "run")[0].dry_run() > 0


def test_a_trained_tower_sets_the_text_features() -> None:
    from fer_edge.training.module import TrainingModule

    checkpoint = tiny_checkpoint()
    module = TrainingModule(checkpoint.model.train(), PromptFeatures(Spelling(), FERPLUS.words, ("{}",)))
    module(torch.zeros(2, 3, 112, 112)).text_logits.square().sum().backward()
    assert module.text.tower.letters.weight.grad.abs().sum() > 0  # type: ignore[union-attr]
    assert checkpoint.model.text_head is not None
    model = module.inference_model()
    assert model.text_head is not None and module.text is not None
    assert torch.equal(model.text_head.text_features, module.text())
    module.eval()
    images = torch.rand(2, 3, 112, 112)
    assert torch.allclose(model(images).text_logits, module(images).text_logits)


def test_other_label_sets_keep_common_rows() -> None:
    checkpoint = tiny_checkpoint()
    rafdb = with_labels(checkpoint, RAFDB)
    assert rafdb.info.labels == RAFDB.labels
    for name in ("label_head.weight", "label_head.bias", "text_head.text_features"):
        old, new = checkpoint.model.state_dict()[name], rafdb.model.state_dict()[name]
        for row, label in enumerate(RAFDB.labels):
            assert torch.equal(new[row], old[FERPLUS.labels.index(label)])
    for name, value in checkpoint.model.state_dict().items():
        if name.startswith(("stem.", "encoder.")):
            assert torch.equal(rafdb.model.state_dict()[name], value)
    with pytest.raises(ConfigError, match="no text features of: contempt"):
        with_labels(rafdb, FERPLUS)
    assert with_labels(rafdb, FERPLUS, learned=True).info.labels == FERPLUS.labels
    features = TextFeatures(torch.eye(8, 12), FERPLUS.words, ("{}",), "file:a")
    wider = with_labels(rafdb, FERPLUS, features)
    assert wider.info.text_source == "file:a" and wider.info.config.text_dim == 12


@pytest.mark.parametrize(
    ("settings", "sources", "message"),
    [
        ({"text": "features"}, {}, 'text = "features" needs --text-features'),
        ({"text": "frozen"}, {"text_features": Path("a")}, "needs text = \"features\", not 'frozen'"),
        ({}, {"init": Path("a"), "stem_weights": Path("b")}, "--init and --stem-weights exclude each other"),
    ],
)
def test_contradictory_sources_are_refused(settings: dict[str, Any], sources: dict[str, Any], message: str) -> None:
    recipe = convert(change_settings({}, settings), Recipe)
    with pytest.raises(ConfigError, match=message):
        initial_module(recipe, Sources(Path("x"), **sources), FERPLUS, ((0.5,) * 3, (0.2,) * 3))


def test_statistics_match_values_by_hand() -> None:
    grey = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).numpy()
    assert statistics(grey) == ((0.5,) * 3, (0.5,) * 3)
    color = torch.tensor([[0, 51, 255], [0, 51, 255]], dtype=torch.uint8).view(2, 3, 1, 1).numpy()
    assert statistics(color) == ((0.0, 0.2, 1.0), (1e-3,) * 3)


def test_the_text_source_follows_the_text_side(tmp_path: Path) -> None:
    tiny_checkpoint().with_info(text_source="open_clip:a:b").save(tmp_path / "a.safetensors")
    recipe = convert({}, Recipe)
    module, info = initial_module(
        recipe, Sources(Path("x"), init=tmp_path / "a.safetensors"), FERPLUS, ((0.5,) * 3, (0.2,) * 3)
    )
    assert info.text_source == "learned" and module.model.text_head.text_features.requires_grad  # type: ignore[union-attr]
    fixed = replace(recipe, training=replace(recipe.training, text="features"))
    module, info = initial_module(
        fixed, Sources(Path("x"), init=tmp_path / "a.safetensors"), FERPLUS, ((0.5,) * 3, (0.2,) * 3)
    )
    assert info.text_source == "open_clip:a:b"
    assert not module.model.text_head.text_features.requires_grad  # type: ignore[union-attr]


@pytest.mark.parametrize("absolute", [False, True])
def test_one_list_for_both_splits_is_refused(absolute: bool, tmp_path: Path) -> None:
    root = make_sfew(tmp_path / "sfew")
    images = sorted((root / "Train").rglob("*.png"))
    lines = [f"{path if absolute else path.relative_to(root)} {path.parent.name.lower()} 0" for path in images]
    names = sorted({path.parent.name.lower() for path in images})
    lines = [f"{line.rsplit(' ', 1)[0]} {names.index(line.split()[-2])}" for line in lines]
    (root / "all.txt").write_text("\n".join(lines))
    recipe = replace(convert(read_recipe("edge-ferplus"), Recipe), layout="auto")
    for valid in (None, root / "all.txt"):
        with pytest.raises(
            DataError,
            match=r"all\.txt and all\.txt contain the same \d+ images; "
            r"expected other images to validate on: name them with --valid-data",
        ):
            make_trainer(recipe, Sources(root / "all.txt", valid_data=valid), tmp_path / "run")[0]
