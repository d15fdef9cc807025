"""Text towers of open_clip: names, tokenizers with their context length, weights from a file, the cache or a host."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fer_edge._text import did_you_mean, one_line
from fer_edge.errors import CheckpointError, ConfigError, EngineUnavailableError
from fer_edge.model.checkpoint import check_values, converted
from fer_edge.model.foreign import HARMLESS, ForeignWeights, kind_of_weights, read_foreign_weights
from fer_edge.model.hub import ADVICE, Download, connect, connect_to_hub, hub_file, quiet_libraries

UNTRAINED = "untrained"
TAGS = 5  # that messages list
SHOWN = 60  # characters of a prompt in messages

Tokenizer = Callable[[list[str]], Tensor]  # prompts to token numbers, (len(prompts), context)


class ClipTextTower(nn.Module):
    """The text side of an open_clip model; its vision side is dropped."""

    def __init__(self, clip: Any, tokenizer: Tokenizer, name: str = "the text tower") -> None:
        super().__init__()
        clip.visual = None
        for buffer in clip.buffers():
            if buffer.is_floating_point():  # the attention mask is minus infinity, of which no average can be taken
                buffer.clamp_(min=torch.finfo(buffer.dtype).min)
        for parameter in ("logit_scale", "logit_bias"):  # of CLIP's own loss; never to get a gradient here
            if getattr(clip, parameter, None) is not None:
                getattr(clip, parameter).requires_grad_(False)
        self.clip = clip
        self.tokenizer = tokenizer
        self.name = name

    def forward(self, prompts: list[str]) -> Tensor:
        tokens = self.tokenizer(prompts).to(next(self.clip.parameters()).device)  # (prompts, context)
        features: Tensor = self.clip.encode_text(tokens)
        return features  # (prompts, dim)

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Refuse prompts that the tower would cut; see `check_prompts`."""
        check_prompts(self.tokenizer, prompts, self.name)


def check_prompts(tokenizer: Any, prompts: Sequence[str], name: str) -> None:
    """Refuse prompts beyond the context length, which tokenizers cut without a word.

    Args:
        tokenizer: Of open_clip.
        prompts: The texts.
        name: Of the tower, for the message.

    Raises:
        ConfigError: A prompt has more tokens than the tower takes.
    """
    for prompt in prompts:
        count, context = token_count(tokenizer, prompt), tokenizer.context_length
        if count > context:
            text = prompt if len(prompt) <= SHOWN else f"{prompt[: SHOWN - 3]}..."
            raise ConfigError(f"the prompt {text!r} has {count} tokens; {name} takes {context}: shorten the template")


def token_count(tokenizer: Any, prompt: str) -> int:
    """Number of tokens of a prompt, those for start and end included, before anything is cut."""
    if hasattr(tokenizer, "encode"):  # CLIP's own; start and end are added later
        return len(tokenizer.encode(prompt)) + 2
    text = getattr(tokenizer, "clean_fn", str)(prompt)
    if getattr(tokenizer, "tokenizer_mode", "") == "clips":  # start, end and class token are added later
        return len(tokenizer.tokenizer(text, add_special_tokens=False).input_ids) + 3
    return len(tokenizer.tokenizer(text, truncation=False).input_ids)


def open_text_tower(
    name: str, weights: str, prompts: Sequence[str] = (), download: Download | None = None
) -> ClipTextTower:
    """An open_clip text tower.

    Args:
        name: open_clip's model name, `ViT-B-32` for one.
        weights: open_clip's tag, a local file, or "untrained" for random weights (tests).
        prompts: Texts that it will read; their length is checked before weights are fetched.
        download: How weights are fetched that are not in the cache; by default, with one attempt.

    Raises:
        EngineUnavailableError: open_clip or a package that the tower needs is not installed.
        ConfigError: The name or weights are not known, or a prompt is too long.
        CheckpointError: The weights cannot be downloaded, or the file holds others.
    """
    try:
        import open_clip
    except ImportError as error:
        raise EngineUnavailableError(
            f'text towers need open_clip ({error}); run: pip install "fer-edge[train]"'
        ) from error
    download = download or Download()
    known = open_clip.list_models()
    if name not in known:
        expected = did_you_mean(name, known) or "; expected one such as ViT-B-32, ViT-L-14, RN50"
        raise ConfigError(f"open_clip knows no model {name!r}{expected}")
    text = open_clip.get_model_config(name)["text_cfg"]
    hub_names = [text.get(key) for key in ("hf_tokenizer_name", "hf_model_name") if text.get(key)]
    if hub_names and importlib.util.find_spec("transformers") is None:
        raise EngineUnavailableError(f"the text tower of {name} needs transformers; run: pip install transformers")
    _check_weights(open_clip, name, weights)
    tokenizer = _tokenizer(open_clip, name, text, download)
    check_prompts(tokenizer, prompts, name)
    changes: dict[str, Any] = {}
    if text.get("hf_model_name"):
        config = hub_file(
            text["hf_model_name"], ["config.json"], f"the configuration files of {name}'s text tower", download
        )
        changes["text_cfg"] = {**text, "hf_model_name": str(config.parent), "hf_model_pretrained": False}
    return ClipTextTower(_model(open_clip, name, weights, changes, download), tokenizer, name)


def _check_weights(open_clip: Any, name: str, weights: str) -> None:
    """Refuse weights that are neither a tag nor a file of weights, before a model is built for them."""
    if weights == UNTRAINED or open_clip.get_pretrained_cfg(name, weights):
        return
    if not Path(weights).exists():
        tags = open_clip.list_pretrained_tags_by_model(name)
        more = f" and {len(tags) - TAGS} more" if len(tags) > TAGS else ""
        raise ConfigError(
            f"weights {weights!r} of {name} cannot be had: there is no such file, and open_clip's tags for it are "
            f"{', '.join(tags[:TAGS]) or '(none)'}{more}{did_you_mean(weights, tags)}"
        )
    kind_of_weights(Path(weights))


def _tokenizer(open_clip: Any, name: str, text: dict[str, Any], download: Download) -> Any:
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
        except Exception:  # not in the cache; every library below has its own error for that
            connect_to_hub(repository, "tokenizer_config.json", f"the files of {name}'s tokenizer", download)
        try:
            return open_clip.get_tokenizer(name)
        except Exception as error:
            raise CheckpointError(
                f"the tokenizer of {name} cannot be had from {repository} ({one_line(str(error), 160)}); {ADVICE}"
            ) from error


def _model(open_clip: Any, name: str, weights: str, changes: dict[str, Any], download: Download) -> nn.Module:
    """The model with its weights, built by open_clip from a local file."""
    tag = {} if weights == UNTRAINED else open_clip.get_pretrained_cfg(name, weights)
    path = None if weights == UNTRAINED else Path(weights)
    if tag:
        path = _file_of_tag(open_clip, tag, f"weights {weights!r} of {name}", download)
    parameters = inspect.signature(open_clip.create_model).parameters
    safely = "weights_only" if "weights_only" in parameters else "load_weights_only"  # open_clip before 3
    if tag.get("quick_gelu"):  # what the weights were trained with
        changes = {**changes, "force_quick_gelu": True}
    try:
        with quiet_libraries(), torch.serialization.safe_globals(HARMLESS):
            pretrained = None if path is None else str(path)
            model: nn.Module = open_clip.create_model(name, pretrained=pretrained, **{safely: True}, **changes)
    except Exception as error:  # files fail in as many ways as there are libraries below
        if path is None:
            raise CheckpointError(f"open_clip cannot build {name}: {one_line(str(error), 160)}") from error
        state = read_foreign_weights(path)  # which names a file of another kind
        with quiet_libraries():
            model = open_clip.create_model(name, **changes)
        _fill_text_side(model, state, name)
    return model.eval()


def _fill_text_side(model: nn.Module, weights: ForeignWeights, name: str) -> None:
    """Load weights that open_clip does not: those of another wrapper or prefix, or without the vision side.

    Raises:
        CheckpointError: A tensor of the text side is missing or has another shape.
        NonFiniteError: A weight is NaN or infinite.
    """
    unused = ("visual.", "logit_", "attn_mask")
    state = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith(unused)}
    fits = weights.fits(lambda key: key if key in state else None)
    tensors = weights.select(fits).tensors if fits else {}
    wrong = [key for key, tensor in state.items() if key not in tensors or tensors[key].shape != tensor.shape]
    if wrong:
        raise CheckpointError(
            f"{weights.source} holds no weights of {name}: {len(wrong)} of {len(state)} tensors of its text side are "
            f"missing or of another shape, among them {wrong[0]}; {weights.examples()}"
        )
    with torch.no_grad():
        for key, tensor in state.items():
            check_values(f"{weights.source}: {key}", tensors[key], tensor.dtype)
            tensor.copy_(converted(f"{weights.source}: {key}", tensors[key], tensor.dtype))


def _file_of_tag(open_clip: Any, tag: dict[str, Any], what: str, download: Download) -> Path:
    """The file of an open_clip tag, out of a cache or downloaded."""
    if tag.get("hf_hub"):
        repository, _, name = tag["hf_hub"].rpartition("/")
        name = name or "open_clip_pytorch_model.bin"
        stem, _, ending = name.rpartition(".")
        safe = {"open_clip_pytorch_model.bin": "open_clip_model.safetensors"}.get(name, f"{stem}.safetensors")
        names = [safe, name] if ending in ("bin", "pth") else [name]
        return hub_file(repository, names, what, download)
    if "url" not in tag:
        return Path(tag["file"])
    cached = Path("~/.cache/clip").expanduser() / tag["url"].rpartition("/")[2]
    if not cached.is_file():
        connect(tag["url"], f"{what} ({tag['url']})", download)
    try:
        return Path(open_clip.download_pretrained(tag))
    except Exception as error:
        raise CheckpointError(f"{what} cannot be downloaded ({one_line(str(error), 160)}); {ADVICE}") from error
