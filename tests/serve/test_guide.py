"""Commands and scripts of the guides about serving, run against a server."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import skimage.data
import yaml
from PIL import Image

from fer_edge.bundle import Bundle
from fer_edge.cli.main import command_function
from fer_edge.cli.parameters import parameters_of
from fer_edge.cli.serve import TOKEN
from fer_edge.export.triton import export_triton
from fer_edge.serve import FaceServer, ServeOptions
from fer_edge.serve.openapi import openapi_document
from tests.test_docs import Block, blocks, commands
from tests.tiny import tiny_bundle

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
TITLE = "with the server running"


def guide_blocks(language: str) -> list[Block]:
    return [block for block in blocks(GUIDES / "serving.md", language) if block.title == TITLE]


@pytest.fixture
def folder(photo: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "photo.jpg").write_bytes(photo)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands_get_answers(server: FaceServer, folder: Path) -> None:
    lines = [line for block in guide_blocks("sh") for line in commands(block)]
    outputs = []
    for line in lines:
        assert "http://127.0.0.1:8080" in line
        line = line.replace("http://127.0.0.1:8080", server.url).replace("box=170,60", "box=90,60")
        done = subprocess.run(["bash", "-ec", line], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        outputs.append(done.stdout)
    assert [len(json.loads(text)["people"]) for text in outputs[:2]] == [1, 1]
    assert outputs[2:4] == ['{"status":"ok"}'] * 2 and "fer_edge_requests_total" in outputs[4]


def test_scripts_print_expressions(server: FaceServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, cameras = (block.text for block in guide_blocks("python"))
    exec(images.replace("http://127.0.0.1:8080", server.url), {})
    (line,) = capsys.readouterr().out.splitlines()
    label = line.rpartition(" ")[2]
    assert label in ("neutral", "happiness", "surprise")
    exec(cameras.replace("ws://127.0.0.1:8080", server.url.replace("http", "ws")), {})
    assert capsys.readouterr().out.splitlines() == [f"{number} ['{label}']" for number in range(3)]


def test_client_of_triton_sends_what_the_configuration_declares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tiny_bundle(tmp_path / "model.fer")
    export_triton(bundle, tmp_path / "models", engine="onnxruntime", model_name="model")
    Image.fromarray(skimage.data.astronaut()[62:174, 169:281]).save(tmp_path / "face.png")
    config = (tmp_path / "models" / "model" / "config.pbtxt").read_text()
    with Bundle.open(bundle).warm_runner("onnxruntime") as runner:

        def post(url: str, json: dict[str, Any]) -> httpx.Response:
            """Answer as Triton does, by the protocol V2 of KServe."""
            assert url.endswith("/v2/models/model/infer")
            (tensor,), (output,) = json["inputs"], json["outputs"]
            assert f'name: "{tensor["name"]}"\n  data_type: TYPE_{tensor["datatype"]}' in config
            assert f'output {{\n  name: "{output["name"]}"' in config
            images = np.array(tensor["data"], np.uint8).reshape(tensor["shape"])
            data = runner.run(images).probabilities.ravel().tolist()
            return httpx.Response(200, json={"outputs": [{"data": data}]}, request=httpx.Request("POST", url))

        (script,) = blocks(GUIDES / "triton.md", "python")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(httpx, "post", post)
        exec(script.text, {})
    assert capsys.readouterr().out.strip() in ("neutral", "happiness", "surprise")


def test_container_of_the_cluster_has_the_servers_command_port_and_probes() -> None:
    deployment, service = (yaml.safe_load(block.text) for block in blocks(GUIDES / "kserve.md", "yaml"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (entry,) = re.findall(r"ENTRYPOINT (.*)", blocks(GUIDES / "kserve.md", "dockerfile")[0].text)
    program, command, *options = json.loads(entry) + container["args"]
    assert (program, command) == ("fer-edge", "serve")
    known = {name for parameter in parameters_of(command_function("serve")) for name in parameter.options}
    assert {option for option in options if option.startswith("--")} <= known
    assert container["ports"] == [{"containerPort": ServeOptions().port}]
    assert container["env"][0]["name"] == TOKEN
    for probe in ("readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in openapi_document()["paths"]
    assert service["spec"]["predictor"]["model"]["protocolVersion"] == "v2"
