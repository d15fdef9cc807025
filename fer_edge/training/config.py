"""What a training run is made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from fer_edge.data.augment import Augmentation
from fer_edge.errors import ConfigError


@dataclass(frozen=True)
class TrainingConfig:
    """One run; equal configurations give equal results on one machine."""

    epochs: int = 12
    batch: int = 128
    learning_rate: float = 2e-3  # peak of the one-cycle schedule (AdamW)
    weight_decay: float = 0.05
    warmup: float = 0.15  # share of the run in which the rate rises
    ema: float = 0.998  # decay of the averaged weights, which are what is validated and saved
    clip: float = 1.0  # largest gradient norm
    targets: Literal["majority", "crossentropy"] = "crossentropy"
    augmentation: Augmentation = field(default_factory=Augmentation)
    mixup: float = 0.0  # alpha of mixup's Beta distribution (Zhang et al., ICLR 2018); 0: none
    distillation: float = 0.7  # share of the teachers in the target, where there are teachers
    accelerator: str = "cpu"  # Fabric's word: cpu, cuda, auto
    amp: bool = False  # bfloat16 autocast: faster where the CPU has AVX-512 BF16 or AMX
    compile: bool = False  # torch.compile: faster, needs a C++ compiler
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2:
            raise ConfigError(f"epochs {self.epochs}, batch {self.batch}; expected at least 1 and 2")
        if not 0 < self.warmup < 1 or not 0 <= self.ema < 1 or self.learning_rate <= 0:
            raise ConfigError("expected 0 < warmup < 1, 0 <= ema < 1 and learning_rate > 0")
        if self.mixup < 0 or not 0 <= self.distillation <= 1:
            raise ConfigError("expected mixup >= 0 and 0 <= distillation <= 1")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as stored beside the run."""
        return asdict(self)
