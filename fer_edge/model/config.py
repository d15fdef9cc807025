"""Model configuration: immutable, and the only source of a model's shape.

The paper's ablations vary fields of it: patch sets (Tables IV and VI) are `patches`, HDSS (Table IV) is `text_head`.
The prompts (Table V) are a setting of the training.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any, Literal

from fer_edge._settings import Bounds, build, check_ranges, check_types, table
from fer_edge._toml import read_toml
from fer_edge.errors import ConfigError

IMAGE_SIZE = 112

# Limits for checkpoints from untrusted sources: building a model must not take minutes or exhaust memory.
_WIDEST = 8192
_STAGES = 6  # a seventh halving of 112 would leave less than one pixel
_STEM_BOUNDS: Bounds = {"input_width": (1, _WIDEST), "widths": (1, _WIDEST), "units": (1, 64)}
_BOUNDS: Bounds = {
    "classes": (2, _WIDEST), "grid": (1, IMAGE_SIZE), "patches": (1, IMAGE_SIZE), "dim": (1, _WIDEST), "depth": (1, 64),
    "heads": (1, _WIDEST), "mlp_ratio": (1, 64), "text_dim": (1, _WIDEST), "text_scale": (1e-6, 1e6),
}  # fmt: skip


@dataclass(frozen=True)
class StemConfig:
    """Settings of the convolutional stem: IR blocks (ArcFace's residual unit) from 112 x 112 down to `map_size`."""

    color: Literal["rgb", "grey"] = "rgb"  # "grey": the stem sees luma only, so colour casts cannot matter
    input_width: int = 64  # channels of the input layer
    input_stride: Literal[1, 2] = 1  # stride of the input layer
    widths: tuple[int, ...] = (64, 128, 256)  # channels of each stage; each stage halves the map
    units: tuple[int, ...] = (3, 4, 14)  # IR blocks of each stage
    pre_norm: bool = True  # a batch norm before the first convolution of each block, as in face.evoLVe

    def __post_init__(self) -> None:
        check_types(StemConfig, vars(self), "stem.")
        check_ranges(vars(self), _STEM_BOUNDS, "stem.")
        if len(self.widths) != len(self.units) or not 1 <= len(self.widths) <= _STAGES:
            raise ConfigError(
                f"stem.widths has {len(self.widths)} stages and stem.units {len(self.units)}; "
                f"expected the same number, at least one and at most {_STAGES}"
            )

    @property
    def map_size(self) -> int:
        """Height and width of the stem's output, in pixels."""
        return int(IMAGE_SIZE // (self.input_stride * 2 ** len(self.widths)))


@dataclass(frozen=True)
class ModelConfig:
    """Settings of a FER-former's architecture."""

    classes: int
    stem: StemConfig = StemConfig()
    grid: int = 12  # the stem's map is average-pooled to grid x grid
    patches: tuple[int, ...] = (2, 4, 6, 12)  # side of the patches of each granularity (MGEI); (2,) is Table IV's "off"
    position_encoding: bool = True  # a depthwise 3x3 convolution added to the pooled map
    token_norm: bool = False  # the release's batch norm over the token axis
    dim: int = 256
    depth: int = 16
    heads: int = 4
    mlp_ratio: int = 4
    final_norm: bool = False  # a layer norm on what the heads read
    text_head: bool = True  # steering token and text head (HDSS)
    text_token: Literal["steering", "class"] = "steering"  # which token the text head reads; the release reads "class"
    text_dim: int = 512  # width of the text features (512: CLIP ViT-B/32)
    text_scale: float = 100.0  # factor on the cosine; CLIP's and the release's 100

    def __post_init__(self) -> None:
        check_types(ModelConfig, vars(self))
        check_ranges(vars(self), _BOUNDS)
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
        """Whether the text head reads the steering token."""
        return self.text_head and self.text_token == "steering"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as stored in a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> ModelConfig:
        """Build a configuration from plain data.

        Raises:
            ConfigError: Unknown or missing field, wrong type, or a value out of range.
        """
        values = table(data, "model configuration")
        stem = build(StemConfig, values.get("stem", {}), "the stem of the model configuration")
        return build(cls, {**values, "stem": stem}, "model configuration")


def preset_names() -> list[str]:
    """Return the names of the shipped presets."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in resources.files("fer_edge.presets").iterdir()
        if entry.name.endswith(".toml")
    )


def preset(name: str, *, classes: int, **changes: Any) -> ModelConfig:
    """Return the configuration of a shipped preset.

    Args:
        name: Name of the preset, see `preset_names`.
        classes: Number of labels.
        changes: Values that replace the preset's, by field of `ModelConfig`; `stem` replaces only its given fields.

    Raises:
        ConfigError: Unknown preset, unknown field, or an invalid value.
    """
    if name not in preset_names():
        raise ConfigError(f"no preset {name!r}; expected one of: {', '.join(preset_names())}")
    data = read_toml(resources.files("fer_edge.presets").joinpath(f"{name}.toml").read_text())
    stem = {**data.get("stem", {}), **table(changes.pop("stem", {}), "stem")}
    return ModelConfig.from_dict({**data, **changes, "stem": stem, "classes": classes})
