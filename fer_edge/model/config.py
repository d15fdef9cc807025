"""Model configuration: immutable, and the only source of a model's shape.

The paper's ablations vary fields of it: patch sets (Tables IV and VI) are `patches`, HDSS (Table IV) is `text_head`.
The prompts (Table V) are a setting of the training.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from msgspec import Meta

from fer_edge._settings import convert, convert_fields, table
from fer_edge._toml import read_toml
from fer_edge.errors import ConfigError
from fer_edge.shipped import shipped_file, shipped_names

IMAGE_SIZE = 112

# Limits for checkpoints from untrusted sources: building a model must not take minutes or exhaust memory.
Size = Annotated[int, Meta(ge=1, le=8192)]
Depth = Annotated[int, Meta(ge=1, le=64)]
Side = Annotated[int, Meta(ge=1, le=IMAGE_SIZE)]
_STAGES = 6  # a seventh halving of 112 would leave less than one pixel


@dataclass(frozen=True)
class StemConfig:
    """Settings of the convolutional stem, from 112 x 112 down to `map_size`."""

    # "ir": ArcFace's residual units, each stage halves the map; "separable": MobileNet's depthwise separable
    # convolutions with ReLU6, each stage but the first halves the map.
    kind: Literal["ir", "separable"] = "ir"
    color: Literal["rgb", "grey"] = "rgb"  # "grey": the stem sees luma only, so colour casts cannot matter
    input_width: Size = 64  # channels of the input layer
    input_stride: Literal[1, 2, 4] = 1  # stride of the input layer
    # Side of the input layer's kernel, at least the stride, so that every pixel is read; None: see `kernel`.
    input_kernel: Literal[3, 5, 7] | None = None
    widths: tuple[Size, ...] = (64, 128, 256)  # channels of each stage
    units: tuple[Depth, ...] = (3, 4, 14)  # blocks of each stage
    pre_norm: bool = True  # a batch norm before the first convolution of each block, as in face.evoLVe
    # Of "ir": "relu" is fused into convolutions by every engine and needs no scale of its own in int8; "prelu" is the
    # paper's.
    activation: Literal["prelu", "relu"] = "prelu"

    def __post_init__(self) -> None:
        convert_fields(self, "stem")
        if len(self.widths) != len(self.units) or not 1 <= len(self.widths) <= _STAGES:
            raise ConfigError(
                f"stem.widths has {len(self.widths)} stages and stem.units {len(self.units)}; "
                f"expected the same number, at least one and at most {_STAGES}"
            )
        if self.kernel < self.input_stride:
            raise ConfigError(
                f"stem.input_kernel is {self.kernel} and stem.input_stride {self.input_stride}; expected a kernel of "
                "at least the stride, so that every pixel is read"
            )

    @property
    def kernel(self) -> int:
        """Side of the input layer's kernel, in pixels; by default twice the stride - 1, and at least 3."""
        return self.input_kernel or max(3, 2 * self.input_stride - 1)

    @property
    def map_size(self) -> int:
        """Height and width of the stem's output, in pixels."""
        halvings = len(self.widths) - (self.kind == "separable")
        return -(-IMAGE_SIZE // (self.input_stride * 2**halvings))


@dataclass(frozen=True)
class ModelConfig:
    """Settings of a FER-former's architecture."""

    classes: Annotated[int, Meta(ge=2, le=8192)]
    stem: StemConfig = StemConfig()
    grid: Side = 12  # the stem's map is average-pooled to grid x grid
    patches: tuple[Side, ...] = (2, 4, 6, 12)  # patch side of each granularity (MGEI); (2,): Table IV's "off"
    position_encoding: bool = True  # a depthwise 3x3 convolution added to the pooled map
    token_norm: bool = False  # the release's batch norm over the token axis
    dim: Size = 256
    depth: Depth = 16
    heads: Size = 4
    mlp_ratio: Depth = 4
    final_norm: bool = False  # a layer norm on what the heads read
    text_head: bool = True  # steering token and text head (HDSS)
    text_token: Literal["steering", "class"] = "steering"  # which token the text head reads; the release reads "class"
    text_dim: Size = 512  # width of the text features (512: CLIP ViT-B/32)
    text_scale: Annotated[float, Meta(ge=1e-6, le=1e6)] = 100.0  # factor on the cosine; CLIP's and the release's 100

    def __post_init__(self) -> None:
        convert_fields(self)
        if not 1 <= self.grid <= self.stem.map_size:
            raise ConfigError(f"grid is {self.grid}; expected 1 to {self.stem.map_size}, the size of the stem's map")
        if not self.patches or any(self.grid % patch for patch in self.patches):
            raise ConfigError(f"patches are {self.patches}; expected sides that divide the grid, {self.grid}")
        if len(set(self.patches)) != len(self.patches):
            raise ConfigError(f"patches are {self.patches}; expected each side once")
        if self.dim % self.heads:
            raise ConfigError(f"dim {self.dim} is not a multiple of heads {self.heads}")

    @property
    def patch_tokens(self) -> int:
        """Number of patch tokens of all granularities together."""
        return sum((self.grid // patch) ** 2 for patch in self.patches)

    @property
    def special_tokens(self) -> int:
        """Number of special tokens: the class token and, with a text head, the steering token."""
        return 2 if self.text_head else 1

    @property
    def steered(self) -> bool:
        """True if the text head reads the steering token."""
        return self.text_head and self.text_token == "steering"


def preset(name: str, *, classes: int, **changes: Any) -> ModelConfig:
    """Return the configuration of a shipped preset.

    Args:
        name: Name of the preset: "edge".
        classes: Number of labels.
        changes: Values that replace the preset's, by field of `ModelConfig`; `stem` replaces only its given fields.

    Raises:
        ConfigError: Unknown preset, unknown field, or an invalid value.
    """
    data = read_toml(shipped_file("preset", name).read_text())
    stem = {**data.get("stem", {}), **table(changes.pop("stem", {}), "model.stem")}
    return convert({**data, **changes, "stem": stem, "classes": classes}, ModelConfig, "model")


def model_name(config: ModelConfig) -> str:
    """Return the name of the preset that a configuration is of; "ferformer" for all others.

    Classes, width and scale of the text features may differ, since they are properties of labels, text encoder and
    temperature.

    Args:
        config: Configuration of a model.
    """
    for name in shipped_names("preset"):
        shipped = preset(name, classes=config.classes)
        if replace(shipped, text_dim=config.text_dim, text_scale=config.text_scale) == config:
            return name
    return "ferformer"
