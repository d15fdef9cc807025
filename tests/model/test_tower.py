"""Text towers of open_clip: long prompts, other weights, missing network or packages."""

from __future__ import annotations

import importlib.util
import logging
import socket
import threading
import urllib.error
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fer_edge.errors import CheckpointError, ConfigError, EngineUnavailableError, NonFiniteError
from fer_edge.labels import FERPLUS
from fer_edge.model.hub import connect, hub_file
from fer_edge.model.text import PromptFeatures, text_features_from_encoder
from fer_edge.model.tower import check_prompts, open_text_tower, token_count

open_clip = pytest.importorskip("open_clip", reason="needs the train extra")
LONG = f"{'a very detailed colour photograph ' * 40}of a face that looks {{}}"
TINY = (
    '{"embed_dim": 16, "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "patch_size": 16, "head_width": 8},'
    ' "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}}'
)


@pytest.fixture(scope="module", autouse=True)
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> None:
    config = tmp_path_factory.mktemp("open_clip") / "fer-tiny-tower.json"
    config.write_text(TINY)
    open_clip.add_model_config(config)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "hub"


@pytest.fixture
def no_network(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make every request fail, and return the list of requested addresses."""
    requests: list[str] = []

    def refuse(request: Any, timeout: float) -> None:
        requests.append(request.full_url)
        raise urllib.error.URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    return requests


def test_long_prompts_are_refused_before_a_download(no_network: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"the prompt 'a very detailed .*\.\.\.' has 208 tokens; ViT-B-32 accepts 77"):
        text_features_from_encoder("ViT-B-32", "openai", FERPLUS.words, (LONG,))
    assert not no_network
    tower = open_text_tower("fer-tiny-tower", "untrained")
    with pytest.raises(ConfigError, match="has 208 tokens; fer-tiny-tower accepts 77: shorten the template"):
        PromptFeatures(tower, FERPLUS.words, (LONG,))
    # 75 words fit with start and end token, 76 do not.
    assert PromptFeatures(tower, ("sad",), (f"{'a ' * 74}{{}}",))().shape == (1, 16)
    with pytest.raises(ConfigError, match="has 78 tokens"):
        PromptFeatures(tower, ("sad",), (f"{'a ' * 75}{{}}",))


class WordTokenizer:
    """Stand-in for open_clip's HFTokenizer that counts words and adds start and end tokens."""

    context_length = 6

    def __init__(self, mode: str = "") -> None:
        self.tokenizer_mode = mode

    def clean_fn(self, text: str) -> str:
        return " ".join(text.split())

    def tokenizer(self, text: str, **options: Any) -> SimpleNamespace:
        special = 2 if options.get("add_special_tokens", True) else 0
        return SimpleNamespace(input_ids=[0] * (len(text.split(" ")) + special))


def test_tokens_of_transformers_tokenizers_are_counted() -> None:
    assert token_count(WordTokenizer(), "a  b c") == 5
    assert token_count(WordTokenizer("clips"), "a b c") == 6
    check_prompts(WordTokenizer(), ["a b c d"], "SigLIP")
    with pytest.raises(ConfigError, match="the prompt 'a b c d e' has 7 tokens; SigLIP accepts 6"):
        check_prompts(WordTokenizer(), ["a b c d e"], "SigLIP")


def test_labels_with_equal_features_are_refused() -> None:
    with pytest.raises(CheckpointError, match="the text tower: 'sad' and 'SAD' have the same text features"):
        text_features_from_encoder("fer-tiny-tower", "untrained", ("happy", "sad", "SAD"), ("a {} face",))


def test_without_network_the_error_names_the_file(no_network: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CheckpointError, match=r"cannot be reached \(Name or service not known\)") as error:
        text_features_from_encoder("ViT-B-32", "openai", FERPLUS.words, ("{}",))
    message = str(error.value)
    assert "\n" not in message and "fer-edge checkpoint text-features -o" in message and "--text-weights" in message
    assert "weights 'openai' of ViT-B-32 (open_clip_model.safetensors of https://huggingface.co/timm/" in message
    assert len(no_network) == 1  # no retry
    assert capfd.readouterr() == ("", "")


def test_hub_offline_is_respected(no_network: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="are not in the cache, and HF_HUB_OFFLINE is set: unset it, or make the"):
        open_text_tower("ViT-B-32", "openai")
    assert not no_network


def test_cached_files_need_no_network(no_network: list[str], empty_cache: Path) -> None:
    snapshot = empty_cache / "models--timm--tower" / "snapshots" / "0"
    snapshot.mkdir(parents=True)
    (snapshot / "open_clip_model.bin").write_bytes(b"weights")
    (empty_cache / "models--timm--tower" / "refs").mkdir()
    (empty_cache / "models--timm--tower" / "refs" / "main").write_text("0")
    names = ["open_clip_model.safetensors", "open_clip_model.bin"]
    assert hub_file("timm/tower", names, "weights") == snapshot / names[1]
    assert not no_network
    with pytest.raises(CheckpointError, match=r"weights \(a\.bin of https://huggingface\.co/timm/tower\) are not in "):
        hub_file("timm/tower", ["a.bin"], "weights")


@pytest.fixture
def server() -> Iterator[tuple[str, list[int]]]:
    """Start a server; return its address and its list of response statuses, of which the last one repeats."""
    statuses = [503]

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    listening = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}/weights.bin", statuses
    listening.shutdown()
    thread.join()
    listening.server_close()


def test_connections_are_retried_only_with_retries(
    server: tuple[str, list[int]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    address, statuses = server
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    caplog.set_level("INFO", "fer_edge")
    with pytest.raises(CheckpointError, match=r"the host cannot be reached \(HTTP status 503\): make the text"):
        connect(address, "weights")
    assert not waits and not caplog.messages
    statuses[:] = [503, 503, 404]  # the host answers, although without the file
    connect(address, "weights", retries=2)
    assert waits == [2.0, 4.0] and caplog.messages == ["downloading weights"]


def test_a_refused_connection_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/x"
    with pytest.raises(CheckpointError, match=r"cannot be reached \(Connection refused\)"):
        connect(address, "weights")


def test_a_missing_transformers_package_is_reported(no_network: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else find_spec(name))
    for name in ("ViT-B-16-SigLIP", "ViT-B-16-SigLIP2", "roberta-ViT-B-32", "mt5-base-ViT-B-32"):
        with pytest.raises(
            EngineUnavailableError, match=f"tower of {name} needs transformers; run: pip install transformers"
        ):
            open_text_tower(name, "untrained")


def test_a_missing_tokenizer_is_reported_in_one_line(no_network: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: object() if name == "transformers" else find_spec(name)
    )

    def fail(name: str, **options: Any) -> None:
        assert options == {"local_files_only": True}
        raise OSError("We couldn't connect\nto the hub")

    monkeypatch.setattr(open_clip, "get_tokenizer", fail)
    with pytest.raises(CheckpointError, match=r"the files of ViT-B-16-SigLIP's tokenizer \(tokenizer_config\.json of"):
        open_text_tower("ViT-B-16-SigLIP", "untrained")
    monkeypatch.setattr(open_clip, "get_tokenizer", lambda *_, **__: importlib.import_module("no_such_package"))
    with pytest.raises(
        EngineUnavailableError, match="the tokenizer of ViT-B-16-SigLIP needs another package: No module"
    ):
        open_text_tower("ViT-B-16-SigLIP", "untrained")


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("ViT-Z", "openai", r"open_clip has no model 'ViT-Z'"),
        ("ViT-B/32", "openai", r"open_clip has no model 'ViT-B/32'; did you mean ViT-B-32\?"),
        (
            "fer-tiny-tower",
            "none.pt",
            r"no weights 'none\.pt' for fer-tiny-tower: .* for it are \(none\)",
        ),
        ("ViT-B-32", "opnai", r"no such file, and open_clip's tags .* and \d+ more; did you mean openai\?"),
    ],
)
def test_unknown_models_and_weights_are_refused(name: str, weights: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_text_tower(name, weights)


def test_weights_are_loaded_from_any_wrapper(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    handlers = list(logging.getLogger().handlers)
    state = open_text_tower("fer-tiny-tower", "untrained").clip.state_dict()  # without the vision encoder
    prompts = ["a sad face"]
    path = tmp_path / "clip.pth"
    torch.save({"model": {f"_orig_mod.module.{name}": value for name, value in state.items()}}, path)
    first = open_text_tower("fer-tiny-tower", str(path))
    assert torch.equal(first.clip.token_embedding.weight, state["token_embedding.weight"])
    torch.save({"state_dict": dict(state), "best": np.float64(3)}, path)
    assert torch.equal(open_text_tower("fer-tiny-tower", str(path))(prompts), first(prompts))
    state["token_embedding.weight"] = state["token_embedding.weight"] * float("nan")
    torch.save({"model": dict(state)}, path)
    with pytest.raises(NonFiniteError, match=r"token_embedding\.weight contains NaN or infinity"):
        open_text_tower("fer-tiny-tower", str(path))
    assert capfd.readouterr() == ("", "") and logging.getLogger().handlers == handlers


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    for data, message in (
        (b"<html>", "is an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of git-lfs"),
        (b"PK\x03\x04", "is a damaged zip archive"),
    ):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=message):
            open_text_tower("fer-tiny-tower", str(path))
    torch.save({"conv.weight": torch.zeros(1)}, path)
    with pytest.raises(
        CheckpointError, match=r"does not contain the weights of fer-tiny-tower: .* names such as 'conv\.weight'$"
    ):
        open_text_tower("fer-tiny-tower", str(path))
    with pytest.raises(CheckpointError, match="is a folder; name a file of weights in it"):
        open_text_tower("fer-tiny-tower", str(tmp_path))
