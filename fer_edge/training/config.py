"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from fer_edge._settings import LARGEST, Fraction, NonNegative, convert_fields
from fer_edge.choices import SENTENCE_ENCODER, LabelTargets, TextSide
from fer_edge.data.augment import Augmentation
from fer_edge.errors import ConfigError

Count = Annotated[int, Meta(ge=0)]
Epochs = Annotated[int, Meta(ge=1, le=10**6)]
Processes = Annotated[int, Meta(ge=1, le=1024)]


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one run; equal settings give equal results on the same machine."""

    epochs: Epochs = 12
    batch: Annotated[int, Meta(ge=2, le=10**6)] = 128  # images per step, over all processes
    limit_train: Count = 0  # number of training images, chosen by the seed; 0: all
    limit_valid: Count = 0  # number of validation images, chosen by the seed; 0: all
    targets: LabelTargets = "crossentropy"
    class_weights: Literal["none", "balanced"] = "none"
    label_smoothing: Fraction = 0.0
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: Fraction = 0.9  # of sgd
    weight_decay: NonNegative = 0.05
    learning_rate: Annotated[float, Meta(gt=0, le=LARGEST)] = 2e-3  # maximum of the schedule
    stem_rate: NonNegative = 1.0  # factor on the learning rate of the stem
    encoder_rate: NonNegative = 1.0  # factor on that of tokens, encoder and label head
    text_rate: NonNegative = 1.0  # factor on that of text head and text tower
    schedule: Literal["one-cycle", "cosine", "step"] = "one-cycle"
    warmup: Annotated[float, Meta(gt=0, lt=1)] = 0.15  # share of the run with rising learning rate; not for step
    step_epochs: Epochs = 30  # with schedule step: epochs between reductions of the learning rate
    step_factor: Fraction = 0.1  # with schedule step: factor of each reduction
    clip: NonNegative = 1.0  # largest gradient norm; 0: no clipping
    # Decay of the averaged weights, which are validated and saved; 0: no averaging.
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.998
    early_stop: Annotated[int, Meta(ge=0, le=10**6)] = 0  # epochs without improvement before the run ends; 0: never
    augmentation: Augmentation = field(default_factory=Augmentation)
    mixup: NonNegative = 0.0  # alpha of mixup's Beta distribution (Zhang et al., ICLR 2018); 0: no mixup
    distillation: Fraction = 0.7  # share of the teachers in the targets, if there are teachers
    # View that the teachers get: "same": the student's; "clean": with its geometry only, so that the student learns the
    # answer to the undamaged image; "stored": the image as it is stored and its mirror image, once before the first
    # step, which costs no time in training.
    distillation_view: Literal["same", "clean", "stored"] = "same"
    # Source of the text features: "learned": parameters of the model; "features": a file; "frozen": a text encoder;
    # "fine-tuned": a CLIP text tower that is trained too (as in the paper).
    text: TextSide = "learned"
    text_model: str = "ViT-B-32"  # "minilm", or name of an open_clip model
    text_weights: str = "openai"  # tag of open_clip, or a file
    templates: tuple[str, ...] = ("phrase",)  # prompt templates, see `labels.TEMPLATES`
    accelerator: str = "cpu"  # accelerator of Lightning Fabric: cpu, cuda, auto
    devices: Processes = 1  # processes on each node
    nodes: Processes = 1
    amp: bool = False  # bfloat16 autocast: faster where the CPU has AVX-512 BF16 or AMX
    int8: bool = False  # round weights and activations as int8 does, so that it changes fewer labels
    compile: bool = False  # torch.compile: faster, needs a C++ compiler
    save_minutes: NonNegative = 5.0  # minutes between resume points inside an epoch
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0

    def __post_init__(self) -> None:
        convert_fields(self)
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.batch % self.processes:
            raise ConfigError(f"a batch of {self.batch} cannot be split equally over {self.processes} processes")
        if self.mixup and (self.batch // self.processes) % 2:
            raise ConfigError(f"mixup blends pairs: batch {self.batch} over {self.processes} processes is odd")
        if self.targets == "multi_target" and (self.mixup or self.label_smoothing or self.class_weights != "none"):
            raise ConfigError("targets multi_target exclude mixup, label_smoothing and class_weights")
        if self.text == "fine-tuned" and self.text_model == SENTENCE_ENCODER:
            raise ConfigError(f'{SENTENCE_ENCODER} cannot be fine-tuned; use text = "frozen", or an open_clip model')

    @property
    def processes(self) -> int:
        """Number of processes that share a batch."""
        return self.devices * self.nodes
