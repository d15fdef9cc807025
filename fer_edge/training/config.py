"""Settings of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import inf
from typing import Any, Literal

from fer_edge._settings import Bounds, build, check_ranges, check_types, table
from fer_edge.choices import LabelTargets, TextSide
from fer_edge.data.augment import Augmentation
from fer_edge.errors import ConfigError

_MANY = 10**6
_BOUNDS: Bounds = {
    "epochs": (1, _MANY), "batch": (2, _MANY), "devices": (1, 1024), "nodes": (1, 1024), "step_epochs": (1, _MANY),
    "early_stop": (0, _MANY), "limit_train": (0, inf), "limit_valid": (0, inf), "mixup": (0, inf), "clip": (0, inf),
    "weight_decay": (0, inf), "momentum": (0, 1), "stem_rate": (0, inf), "encoder_rate": (0, inf),
    "text_rate": (0, inf), "save_minutes": (0, inf), "seed": (0, 2**32 - 1), "distillation": (0, 1),
    "label_smoothing": (0, 1), "step_factor": (0, 1),
}  # fmt: skip
_AUGMENTATION: Bounds = {
    "flip": (0, 1), "rotation": (0, 180), "scale": (0, 1), "shift": (0, 1), "brightness": (0, 1), "contrast": (0, 1),
    "grey": (0, 1), "erasing": (0, 1),
}  # fmt: skip


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one run; equal settings give equal results on the same machine."""

    epochs: int = 12
    batch: int = 128  # images per step, over all processes
    limit_train: int = 0  # number of training images, chosen by the seed; 0: all
    limit_valid: int = 0  # number of validation images, chosen by the seed; 0: all
    targets: LabelTargets = "crossentropy"
    class_weights: Literal["none", "balanced"] = "none"
    label_smoothing: float = 0.0
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = 0.9  # of sgd
    weight_decay: float = 0.05
    learning_rate: float = 2e-3  # maximum of the schedule
    stem_rate: float = 1.0  # factor on the learning rate of the stem
    encoder_rate: float = 1.0  # factor on that of tokens, encoder and label head
    text_rate: float = 1.0  # factor on that of text head and text tower
    schedule: Literal["one-cycle", "cosine", "step"] = "one-cycle"
    warmup: float = 0.15  # share of the run with rising learning rate; not for step
    step_epochs: int = 30  # with schedule step: epochs between reductions of the learning rate
    step_factor: float = 0.1  # with schedule step: factor of each reduction
    clip: float = 1.0  # largest gradient norm; 0: no clipping
    ema: float = 0.998  # decay of the averaged weights, which are validated and saved; 0: no averaging
    early_stop: int = 0  # epochs without improvement before the run ends; 0: no early stopping
    augmentation: Augmentation = field(default_factory=Augmentation)
    mixup: float = 0.0  # alpha of mixup's Beta distribution (Zhang et al., ICLR 2018); 0: no mixup
    distillation: float = 0.7  # share of the teachers in the targets, if there are teachers
    # Source of the text features: "learned": parameters of the model; "features": a file; "frozen": a CLIP text tower;
    # "fine-tuned": a CLIP text tower that is trained too (as in the paper).
    text: TextSide = "learned"
    text_model: str = "ViT-B-32"  # name of an open_clip model
    text_weights: str = "openai"  # tag of open_clip, or a file
    templates: tuple[str, ...] = ("phrase",)  # prompt templates, see `labels.TEMPLATES`
    accelerator: str = "cpu"  # accelerator of Lightning Fabric: cpu, cuda, auto
    devices: int = 1  # processes on each node
    nodes: int = 1
    amp: bool = False  # bfloat16 autocast: faster where the CPU has AVX-512 BF16 or AMX
    compile: bool = False  # torch.compile: faster, needs a C++ compiler
    save_minutes: float = 5.0  # minutes between resume points inside an epoch
    seed: int = 0

    def __post_init__(self) -> None:
        check_types(TrainingConfig, vars(self))
        check_types(Augmentation, vars(self.augmentation), "augmentation.")
        check_ranges(vars(self), _BOUNDS)
        check_ranges(vars(self.augmentation), _AUGMENTATION, "augmentation.")
        for name, value, right, expected in (
            ("warmup", self.warmup, 0 < self.warmup < 1, "more than 0 and less than 1"),
            ("ema", self.ema, 0 <= self.ema < 1, "at least 0 and less than 1"),
            ("learning_rate", self.learning_rate, self.learning_rate > 0, "more than 0"),
        ):
            if not right:
                raise ConfigError(f"{name} is {value}; expected {expected}")
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.batch % self.processes:
            raise ConfigError(f"a batch of {self.batch} cannot be split equally over {self.processes} processes")
        if self.mixup and (self.batch // self.processes) % 2:
            raise ConfigError(f"mixup blends pairs: batch {self.batch} over {self.processes} processes is odd")
        if self.targets == "multi_target" and (self.mixup or self.label_smoothing or self.class_weights != "none"):
            raise ConfigError("targets multi_target exclude mixup, label_smoothing and class_weights")

    @property
    def processes(self) -> int:
        """Number of processes that share a batch."""
        return self.devices * self.nodes

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as stored in checkpoints and resume points."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainingConfig:
        """Build a configuration from plain data.

        Raises:
            ConfigError: Unknown field, wrong type, or a value out of range.
        """
        values = table(data, "training settings")
        augmentation = build(Augmentation, values.get("augmentation", {}), "augmentation of the training settings")
        return build(cls, {**values, "augmentation": augmentation}, "training settings")
