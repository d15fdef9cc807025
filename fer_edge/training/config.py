"""What a training run is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta

from fer_edge._settings import LARGEST, Fraction, NonNegative, convert, convert_fields
from fer_edge.data.augment import Augmentation
from fer_edge.data.targets import Targets
from fer_edge.errors import ConfigError

# How the text features come about. learned: as parameters, with no language in them; features: from a file, fixed;
# frozen: from a CLIP text tower, fixed; fine-tuned: the tower is trained along (the paper's way).
TextSide = Literal["learned", "features", "frozen", "fine-tuned"]

_MANY = 10**6
Count = Annotated[int, Meta(ge=0)]
Epochs = Annotated[int, Meta(ge=1, le=_MANY)]
Processes = Annotated[int, Meta(ge=1, le=1024)]


@dataclass(frozen=True)
class TrainingConfig:
    """One run; equal configurations give equal results on one machine."""

    epochs: Epochs = 12
    batch: Annotated[int, Meta(ge=2, le=_MANY)] = 128  # images a step, over all processes
    limit_train: Count = 0  # learn from that many images only, chosen by the seed; 0: all
    limit_valid: Count = 0  # validate on that many images only, chosen by the seed; 0: all
    targets: Targets = "crossentropy"
    class_weights: Literal["none", "balanced"] = "none"
    label_smoothing: Fraction = 0.0
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: Fraction = 0.9  # of sgd
    weight_decay: NonNegative = 0.05
    learning_rate: Annotated[float, Meta(gt=0, le=LARGEST)] = 2e-3  # the highest one
    stem_rate: NonNegative = 1.0  # factors on it: the stem,
    encoder_rate: NonNegative = 1.0  # tokens, encoder and label head,
    text_rate: NonNegative = 1.0  # text head and text tower
    schedule: Literal["one-cycle", "cosine", "step"] = "one-cycle"
    warmup: Annotated[float, Meta(gt=0, lt=1)] = 0.15  # share of the run in which the rate rises; not for step
    step_epochs: Epochs = 30  # step: the rate falls after that many epochs, again and again,
    step_factor: Fraction = 0.1  # by this factor
    clip: NonNegative = 1.0  # largest gradient norm; 0: any
    # Decay of the averaged weights, which are validated and saved; 0: the last weights.
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.998
    early_stop: Annotated[int, Meta(ge=0, le=_MANY)] = 0  # stop after that many epochs without a better one; 0: never
    augmentation: Augmentation = field(default_factory=Augmentation)
    mixup: NonNegative = 0.0  # alpha of mixup's Beta distribution (Zhang et al., ICLR 2018); 0: none
    distillation: Fraction = 0.7  # share of the teachers in the target, where there are teachers
    text: TextSide = "learned"
    text_model: str = "ViT-B-32"  # open_clip's name of the text tower
    text_weights: str = "openai"  # open_clip's tag, or a local file
    templates: tuple[str, ...] = ("phrase",)  # prompts: see `labels.TEMPLATES`
    accelerator: str = "cpu"  # Fabric's word: cpu, cuda, auto
    devices: Processes = 1  # processes on each node
    nodes: Processes = 1
    amp: bool = False  # bfloat16 autocast: faster where the CPU has AVX-512 BF16 or AMX
    compile: bool = False  # torch.compile: faster, needs a C++ compiler
    save_minutes: NonNegative = 5.0  # a resume point inside an epoch, that often
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0

    def __post_init__(self) -> None:
        convert_fields(self)
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.batch % self.processes:
            raise ConfigError(f"a batch of {self.batch} cannot be shared by {self.processes} processes alike")
        if self.mixup and (self.batch // self.processes) % 2:
            raise ConfigError(f"mixup blends pairs: batch {self.batch} over {self.processes} processes is odd")
        if self.targets == "multi_target" and (self.mixup or self.label_smoothing or self.class_weights != "none"):
            raise ConfigError("targets multi_target go with neither mixup, label_smoothing nor class_weights")

    @property
    def processes(self) -> int:
        """How many share a batch."""
        return self.devices * self.nodes

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as stored beside the run."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainingConfig:
        """Build a configuration from plain data.

        Raises:
            ConfigError: A field is unknown, of another type or out of range.
        """
        return convert(data, cls, "training")
