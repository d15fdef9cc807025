"""Text towers of open_clip: tokenizer, context length, and weights from a file, the cache or a download."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fer_edge._require import require
from fer_edge._text import did_you_mean, one_line
from fer_edge.choices import SENTENCE_ENCODER
from fer_edge.errors import CheckpointError, ConfigError, EngineUnavailableError
from fer_edge.model.checkpoint import check_values, convert_tensor
from fer_edge.model.foreign import SAFE_TYPES, ForeignWeights, kind_of_weights, read_foreign_weights
from fer_edge.model.hub import ADVICE, connect, connect_to_hub, hub_file, quiet_libraries

UNTRAINED = "untrained"
TAGS = 5  # largest number of tags in a message
SHOWN = 60  # largest number of characters of a prompt in a message

Tokenizer = Callable[[list[str]], Tensor]  # from prompts to token ids, (len(prompts), context)


class ClipTextTower(nn.Module):
    """Text encoder of an open_clip model, without the vision encoder."""

    def __init__(self, clip: Any, tokenizer: Tokenizer, name: str = "the text tower") -> None:
        super().__init__()
        clip.visual = None
        for buffer in clip.buffers():
            if buffer.is_floating_point():  # the attention mask contains -inf, which weight averaging turns into NaN
                buffer.clamp_(min=torch.finfo(buffer.dtype).min)
        for parameter in ("logit_scale", "logit_bias"):  # parameters of CLIP's own loss, which have no gradient here
            if getattr(clip, parameter, None) is not None:
                getattr(clip, parameter).requires_grad_(False)
        self.clip = clip
        self.tokenizer = tokenizer
        self.name = name

    def forward(self, prompts: list[str]) -> Tensor:
        tokens = self.tokenizer(prompts).to(next(self.clip.parameters()).device)  # (prompts, context)
        return self.clip.encode_text(tokens)  # (prompts, dim)


def check_prompts(tokenizer: Any, prompts: Sequence[str], name: str) -> None:
    """Check that prompts fit into the context length; tokenizers truncate longer ones silently.

    Args:
        tokenizer: Tokenizer of open_clip.
        prompts: Texts to check.
        name: Name of the tower for the message.

    Raises:
        ConfigError: A prompt with more tokens than the context length.
    """
    for prompt in prompts:
        count, context = token_count(tokenizer, prompt), tokenizer.context_length
        if count > context:
            text = prompt if len(prompt) <= SHOWN else f"{prompt[: SHOWN - 3]}..."
            raise ConfigError(f"the prompt {text!r} has {count} tokens; {name} accepts {context}: shorten the template")


def token_count(tokenizer: Any, prompt: str) -> int:
    """Count the tokens of a prompt before truncation, including start and end tokens."""
    if hasattr(tokenizer, "encode"):  # CLIP's tokenizer, which adds start and end later
        return len(tokenizer.encode(prompt)) + 2
    text = getattr(tokenizer, "clean_fn", str)(prompt)
    if getattr(tokenizer, "tokenizer_mode", "") == "clips":  # this tokenizer adds start, end and class token later
        return len(tokenizer.tokenizer(text, add_special_tokens=False).input_ids) + 3
    return len(tokenizer.tokenizer(text, truncation=False).input_ids)


def open_text_tower(name: str, weights: str, prompts: Sequence[str] = (), retries: int = 0) -> ClipTextTower:
    """Open an open_clip text tower.

    Args:
        name: Name of an open_clip model: "ViT-B-32".
        weights: Tag of open_clip, a local file, or "untrained" for random weights (for tests).
        prompts: Texts to encode later; their length is checked before weights are downloaded.
        retries: Number of further attempts of a failed download, 0 by default.

    Raises:
        EngineUnavailableError: open_clip or a package that the tower needs is not installed.
        ConfigError: Unknown name or weights, or a prompt that is too long.
        CheckpointError: Weights that cannot be downloaded, or a file with other weights.
    """
    open_clip = require("open_clip", "train", "a text tower")
    models = open_clip.list_models()
    if name not in models:
        expected = did_you_mean(name, [SENTENCE_ENCODER, *models])
        expected = expected or f"; expected {SENTENCE_ENCODER}, or a model such as ViT-B-32, ViT-L-14, RN50"
        raise ConfigError(f"open_clip has no model {name!r}{expected}")
    text = open_clip.get_model_config(name)["text_cfg"]
    hub_names = [text.get(key) for key in ("hf_tokenizer_name", "hf_model_name") if text.get(key)]
    if hub_names and importlib.util.find_spec("transformers") is None:
        raise EngineUnavailableError(f"the text tower of {name} needs transformers; run: pip install transformers")
    _check_weights(open_clip, name, weights)
    tokenizer = _tokenizer(open_clip, name, text, retries)
    check_prompts(tokenizer, prompts, name)
    changes: dict[str, Any] = {}
    if text.get("hf_model_name"):
        config = hub_file(
            text["hf_model_name"], ["config.json"], f"the configuration files of {name}'s text tower", retries
        )
        changes["text_cfg"] = {**text, "hf_model_name": str(config.parent), "hf_model_pretrained": False}
    return ClipTextTower(_model(open_clip, name, weights, changes, retries), tokenizer, name)


def _check_weights(open_clip: Any, name: str, weights: str) -> None:
    """Check that weights are a tag or a file of weights, before the model is built."""
    if weights == UNTRAINED or open_clip.get_pretrained_cfg(name, weights):
        return
    if not Path(weights).exists():
        tags = open_clip.list_pretrained_tags_by_model(name)
        more = f" and {len(tags) - TAGS} more" if len(tags) > TAGS else ""
        raise ConfigError(
            f"no weights {weights!r} for {name}: no such file, and open_clip's tags for it are "
            f"{', '.join(tags[:TAGS]) or '(none)'}{more}{did_you_mean(weights, tags)}"
        )
    kind_of_weights(Path(weights))


def _tokenizer(open_clip: Any, name: str, text: dict[str, Any], retries: int) -> Any:
    repository = text.get("hf_tokenizer_name")
    with quiet_libraries():
        if not repository:
            return open_clip.get_tokenizer(name)
        try:
            return open_clip.get_tokenizer(name, local_files_only=True)
        except ImportError as error:
            raise EngineUnavailableError(
                f"the tokenizer of {name} needs another package: {one_line(str(error))}"
            ) from error
        except Exception:  # not cached; each of the underlying libraries raises another type
            connect_to_hub(repository, "tokenizer_config.json", f"the files of {name}'s tokenizer", retries)
        try:
            return open_clip.get_tokenizer(name)
        except Exception as error:
            raise CheckpointError(
                f"the tokenizer of {name} cannot be loaded from {repository} ({one_line(str(error), 160)}); {ADVICE}"
            ) from error


def _model(open_clip: Any, name: str, weights: str, changes: dict[str, Any], retries: int) -> nn.Module:
    """Build the model with open_clip, with weights from a local file."""
    tag = {} if weights == UNTRAINED else open_clip.get_pretrained_cfg(name, weights)
    path = None if weights == UNTRAINED else Path(weights)
    if tag:
        path = _file_of_tag(open_clip, tag, f"weights {weights!r} of {name}", retries)
    parameters = inspect.signature(open_clip.create_model).parameters
    safely = "weights_only" if "weights_only" in parameters else "load_weights_only"  # open_clip before 3
    if tag.get("quick_gelu"):  # the activation that the weights were trained with
        changes = {**changes, "force_quick_gelu": True}
    try:
        with quiet_libraries(), torch.serialization.safe_globals(SAFE_TYPES):
            pretrained = None if path is None else str(path)
            model: nn.Module = open_clip.create_model(name, pretrained=pretrained, **{safely: True}, **changes)
    except Exception as error:  # each of the underlying libraries raises another type
        if path is None:
            raise CheckpointError(f"open_clip cannot build {name}: {one_line(str(error), 160)}") from error
        state = read_foreign_weights(path)  # its errors describe a file of another kind
        with quiet_libraries():
            model = open_clip.create_model(name, **changes)
        _load_text_encoder(model, state, name)
    return model.eval()


def _load_text_encoder(model: nn.Module, weights: ForeignWeights, name: str) -> None:
    """Load weights that open_clip cannot load: other wrappers or prefixes, or without the vision encoder.

    Raises:
        CheckpointError: A missing tensor of the text encoder, or a wrong shape.
        NonFiniteError: NaN or infinity in a weight.
    """
    unused = ("visual.", "logit_", "attn_mask")
    state = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith(unused)}
    matches = weights.matches(lambda key: key if key in state else None)
    tensors = weights.select(matches).tensors if matches else {}
    wrong = [key for key, tensor in state.items() if key not in tensors or tensors[key].shape != tensor.shape]
    if wrong:
        raise CheckpointError(
            f"{weights.source} does not contain the weights of {name}: {len(wrong)} of {len(state)} tensors of its "
            f"text encoder are missing or have another shape, among them {wrong[0]}; {weights.examples()}"
        )
    with torch.no_grad():
        for key, tensor in state.items():
            check_values(f"{weights.source}: {key}", tensors[key], tensor.dtype)
            tensor.copy_(convert_tensor(f"{weights.source}: {key}", tensors[key], tensor.dtype))


def _file_of_tag(open_clip: Any, tag: dict[str, Any], what: str, retries: int) -> Path:
    """Return the file of an open_clip tag from a cache, or download it."""
    if tag.get("hf_hub"):
        repository, _, name = tag["hf_hub"].rpartition("/")
        name = name or "open_clip_pytorch_model.bin"
        stem, _, ending = name.rpartition(".")
        safe = {"open_clip_pytorch_model.bin": "open_clip_model.safetensors"}.get(name, f"{stem}.safetensors")
        names = [safe, name] if ending in ("bin", "pth") else [name]
        return hub_file(repository, names, what, retries)
    if "url" not in tag:
        return Path(tag["file"])
    cached = Path("~/.cache/clip").expanduser() / tag["url"].rpartition("/")[2]
    if not cached.is_file():
        connect(tag["url"], f"{what} ({tag['url']})", retries)
    try:
        return Path(open_clip.download_pretrained(tag))
    except Exception as error:
        raise CheckpointError(f"{what} cannot be downloaded ({one_line(str(error), 160)}); {ADVICE}") from error
