"""Readers of files from elsewhere, each with seeds; only errors of fer-edge may leave them."""

from __future__ import annotations

import base64
import io
import json
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from fer_edge.errors import FerEdgeError
from fer_edge.shipped import shipped_file

CORPUS = Path(__file__).with_name("corpus")
LABELS = ("neutral", "happiness", "surprise")
MAX_PIXELS = 1 << 20
HOSTILE = (
    b"",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"a = " + b"[" * 100_000,
    b"a." * 20_000 + b"b = 1",
    b"\xff\xfe\0",
    b"9" * 5000,
    b"a,b\n" + b"c" * 200_000,
)


@dataclass(frozen=True)
class Target:
    """Reader of one kind of file.

    Attributes:
        name: Name on the command line, and of its folder in the corpus.
        suffix: Suffix of the file.
        read: Function that reads a file.
        seeds: Function that makes valid files.
        max_bytes: Size of the largest input.
        wanted: Tokens of the format, which the fuzzer inserts.
    """

    name: str
    suffix: str
    read: Callable[[Path], object]
    seeds: Callable[[], Iterable[bytes]]
    max_bytes: int = 4096
    wanted: tuple[str, ...] = ()

    def run(self, data: bytes) -> bool:
        """Read one input, and return whether it is valid.

        Args:
            data: Content of the file.

        Raises:
            Exception: Of any type but FerEdgeError, which is a fault.
        """
        path = _folder() / f"input{self.suffix}"
        path.write_bytes(data)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.read(path)
        except FerEdgeError as error:
            if "\n" in str(error):
                raise AssertionError("an error of several lines") from error
            return False
        return True

    def inputs(self) -> Iterator[bytes]:
        """Yield seeds, inputs for the limits of parsers, and the kept inputs."""
        yield from self.seeds()
        yield from HOSTILE
        for path in self.regressions():
            yield path.read_bytes()

    def regressions(self) -> list[Path]:
        """Return the kept inputs, sorted by name."""
        return sorted((CORPUS / self.name).glob("*"))


@cache
def _folder() -> Path:
    """Return a folder for the inputs, in memory where there is one."""
    memory = Path("/dev/shm")
    folder = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None, prefix="fer-edge-fuzz-")
    _KEPT.append(folder)
    return Path(folder.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []  # removed at the end of the process


def _bytes_of(write: Callable[[Path], object], suffix: str) -> bytes:
    path = _folder() / f"seed{suffix}"
    write(path)
    return path.read_bytes()


def _open_bundle(path: Path) -> None:
    from fer_edge.bundle import Bundle

    bundle = Bundle.open(path)
    for member in bundle.manifest.files:
        bundle.read(member)


def _bundles() -> list[bytes]:
    from tests.tiny import tiny_bundle

    return [_bytes_of(tiny_bundle, ".fer")]


def _parse_manifest(path: Path) -> None:
    from fer_edge.manifest import parse_manifest

    parse_manifest(path.read_bytes(), path)


def _manifests() -> list[bytes]:
    import zipfile

    with zipfile.ZipFile(io.BytesIO(_bundles()[0])) as archive:
        return [archive.read("manifest.json")]


def _verify(path: Path) -> None:
    from fer_edge.signing import verify_bundle

    bundle, key = _signed()
    bundle.with_name(f"{bundle.name}.sig").write_bytes(path.read_bytes())
    verify_bundle(bundle, key)


@cache
def _signed() -> tuple[Path, bytes]:
    from tests.signatures import signed_bundle

    folder = _folder() / "signed"
    folder.mkdir()
    bundle = signed_bundle(folder)
    return bundle, (folder / "key.pub").read_bytes()


def _signatures() -> list[bytes]:
    return [_signed()[0].with_name("tiny.fer.sig").read_bytes()]


def _load_checkpoint(path: Path) -> None:
    from fer_edge.model.checkpoint import load_checkpoint

    load_checkpoint(path)


def _checkpoints() -> list[bytes]:
    from tests.tiny_model import tiny_checkpoint

    return [_bytes_of(lambda path: tiny_checkpoint().save(path), ".safetensors")]


def _parse_checkpoint_info(path: Path) -> None:
    from fer_edge.model.checkpoint import CheckpointInfo

    CheckpointInfo.from_json(path.read_text(errors="replace"))


def _checkpoint_infos() -> list[bytes]:
    from tests.tiny_model import tiny_checkpoint

    return [tiny_checkpoint().info.to_json().encode()]


def _read_weights(path: Path) -> None:
    from fer_edge.model.foreign import read_foreign_weights

    read_foreign_weights(path)


def _weights() -> list[bytes]:
    import torch
    from safetensors.torch import save

    tensors = {"input.weight": torch.ones(2, 3), "input.bias": torch.zeros(2)}
    archive, arrays = io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": tensors}, archive)
    np.savez(arrays, weight=tensors["input.weight"].numpy(), bias=tensors["input.bias"].numpy())
    old = io.BytesIO()
    torch.save(tensors, old, _use_new_zipfile_serialization=False)
    return [archive.getvalue(), arrays.getvalue(), old.getvalue(), save(tensors)]


def _read_text_features(path: Path) -> None:
    from fer_edge.model.text import load_text_features

    load_text_features(path)


def _text_features() -> list[bytes]:
    import torch

    from fer_edge.model.text import TextFeatures, save_text_features

    features = TextFeatures(torch.eye(3), LABELS, ("{}",), "test")
    return [_bytes_of(lambda path: save_text_features(path, features), ".safetensors")]


def _read_ranges(path: Path) -> None:
    from fer_edge.graph.ranges import read_ranges

    read_ranges(path)


def _ranges() -> list[bytes]:
    data = json.loads(shipped_file("ranges", "edge").read_text())
    data["tensors"] = dict([*data["tensors"].items()][:2])
    return [json.dumps(data).encode()]


def _read_set(path: Path) -> None:
    from fer_edge.calibration.images import read_set

    read_set(path)


def _sets() -> list[bytes]:
    images = [
        {"file": f"{number}.png", "sha256": f"{number:064x}", "label": LABELS[number % 3], "box": None}
        for number in range(32)
    ]
    return [json.dumps({"format": 1, "source": "test", "seed": 0, "images": images}).encode()]


def _read_image(path: Path) -> None:
    from fer_edge.images import read_image

    read_image(path.read_bytes(), max_pixels=MAX_PIXELS)


def _images() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
    image = Image.fromarray(pixels)
    changed = [
        image,
        image.convert("L"),
        image.convert("RGBA"),
        image.convert("P"),
        Image.fromarray(pixels[..., 0].astype(np.uint16) * 257),
    ]
    files = []
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"):
        for version in changed:
            stream = io.BytesIO()
            try:
                version.save(stream, kind)
            except (OSError, ValueError):  # a mode that this format does not have
                continue
            files.append(stream.getvalue())
    return files


def _read_training_recipe(path: Path) -> None:
    from fer_edge._settings import convert
    from fer_edge.training.recipe import Recipe, read_recipe

    convert(read_recipe(str(path)), Recipe)


def _training_recipes() -> list[bytes]:
    return [shipped_file("training recipe", name).read_bytes() for name in ("edge-ferplus", "paper-rafdb")]


def _read_build_recipe(path: Path) -> None:
    from fer_edge.export.recipe import build_arguments

    build_arguments(path, {"checkpoint": "edge"}, {})


def _build_recipes() -> list[bytes]:
    folder = Path(__file__).parents[2] / "export"
    return [path.read_bytes() for path in sorted(folder.glob("*.toml"))]


def _read_mapping(path: Path) -> None:
    from fer_edge.live.outputs.mapping import read_mapping

    read_mapping(str(path), LABELS)


def _mappings() -> list[bytes]:
    from fer_edge.shipped import shipped_names

    return [shipped_file("mapping", name).read_bytes() for name in shipped_names("mapping")]


def _read_saved_outputs(path: Path) -> None:
    from fer_edge.evaluation.saved_outputs import read_outputs

    read_outputs(path).rows(0, 1)


def _saved_outputs() -> list[bytes]:
    array = io.BytesIO()
    np.save(array, np.full((1, 3), 1 / 3, np.float32))
    values = {"polygraphy_class": "ndarray", "array": base64.b64encode(array.getvalue()).decode()}
    outputs = {name: {"polygraphy_class": "LazyArray", "values": values} for name in ("label_logits", "probabilities")}
    runs = [["test", [{"polygraphy_class": "IterationResult", "outputs": outputs}]]]
    return [json.dumps({"polygraphy_class": "RunResults", "lst": runs}).encode()]


def _read_boxes(path: Path) -> None:
    from fer_edge.analysis.box_files import read_boxes

    read_boxes(path)


def _boxes() -> list[bytes]:
    row = {"file": "a.png", "x": 1, "y": 2, "width": 3.5, "height": 4}
    overflow = json.dumps([row | {"x": 10**400}]).encode()
    return [json.dumps([row]).encode(), overflow, b'file,x,y,width,height\na.png,1,2,3,4\n"b, c.png", 1, 2, 3, 4\n']


def _read_summary(path: Path) -> None:
    from fer_edge.score.shards import read_summary, shard_path

    path.replace(shard_path(path.parent, 0))
    read_summary(path.parent, 0, "plan")


def _summaries() -> list[bytes]:
    from fer_edge.score.shards import KEY, Damage, Summary, summary_text, write_shard

    summary = Summary("plan", 1, 1, 0, (Damage("a.png", None, "no image"),), "0.1")
    with write_shard(_folder(), 1, LABELS) as table:
        table.flush()
        table.add_metadata({KEY: summary_text(summary)})
    return [(_folder() / "part-000001.parquet").read_bytes()]


def _read_kind(path: Path) -> None:
    from fer_edge.file_kind import describe_file

    describe_file(path)


TOML = ("[[", "]]", '\\"\\"\\"', "'''", "inf", "nan", "0x", "= {", "1e400", "true", "1979-05-27T07:32:00Z")
JSON = ('{\\"', '\\":', "null", "NaN", "Infinity", "1e400", "[[[[", "true", "-0", "\\\\ud800", "99999999999999999999")
TARGETS = {
    target.name: target
    for target in (
        Target(
            "bundle",
            ".fer",
            _open_bundle,
            _bundles,
            wanted=("PK\\x03\\x04", "PK\\x01\\x02", "PK\\x05\\x06", "manifest.json"),
        ),
        Target("manifest", ".json", _parse_manifest, _manifests, wanted=JSON),
        Target("signature", ".sig", _verify, _signatures, wanted=JSON),
        Target("checkpoint", ".safetensors", _load_checkpoint, _checkpoints, 1 << 18, JSON),
        Target("checkpoint-info", ".json", _parse_checkpoint_info, _checkpoint_infos, wanted=JSON),
        Target("weights", ".pth", _read_weights, _weights, wanted=JSON),
        Target("text-features", ".safetensors", _read_text_features, _text_features, wanted=JSON),
        Target("ranges", ".json", _read_ranges, _ranges, wanted=JSON),
        Target("calibration-set", ".json", _read_set, _sets, wanted=JSON),
        Target("image", ".img", _read_image, _images),
        Target("training-recipe", ".toml", _read_training_recipe, _training_recipes, wanted=TOML),
        Target("build-recipe", ".toml", _read_build_recipe, _build_recipes, wanted=TOML),
        Target("mapping", ".toml", _read_mapping, _mappings, wanted=TOML),
        Target("saved-outputs", ".json", _read_saved_outputs, _saved_outputs, wanted=JSON),
        Target("boxes", ".csv", _read_boxes, _boxes, wanted=JSON),
        Target("shard", ".parquet", _read_summary, _summaries),
        Target("file-kind", ".bin", _read_kind, lambda: [*_weights(), *_images()[:4], *_bundles()]),
    )
}
