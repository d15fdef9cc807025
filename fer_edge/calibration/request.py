"""Arguments of a calibration, checked before the model is loaded; imports neither NumPy nor onnx."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

from msgspec import Meta

from fer_edge._files import check_output_files
from fer_edge._settings import NonNegative, convert_fields
from fer_edge.choices import PLOT_SUFFIXES, CalibrationMethod, EngineName, LayerKind, LayoutName, Split
from fer_edge.engines.registry import get_engine
from fer_edge.errors import ConfigError

COUNT = 512  # images of a new calibration set


@dataclass(frozen=True)
class CalibrationRequest:
    """Arguments of `fer_edge.export.calibrate.calibrate`; None where an argument was not given."""

    checkpoint: Path
    data: Path
    out: Path | None
    calibration_set: Path | None
    count: Annotated[int, Meta(ge=1)] | None
    seed: Annotated[int, Meta(ge=0)] | None
    method: CalibrationMethod
    layer_kinds: tuple[LayerKind, ...]
    float_layers: tuple[str, ...]
    layout: LayoutName
    max_drop: NonNegative | None
    split: Split | None
    eval_count: Annotated[int, Meta(ge=1)] | None
    engine: str | None
    device: int | None
    threads: int | None
    state: Path | None
    plot: Path | None

    def __post_init__(self) -> None:
        convert_fields(self)
        if self.engine is not None and self.engine not in get_args(EngineName):
            get_engine(self.engine)
        self._check_effects()
        self._check_files()

    @property
    def set_exists(self) -> bool:
        """True if the calibration set is read from its file instead of being chosen."""
        return self.calibration_set is not None and self.calibration_set.exists()

    def _check_effects(self) -> None:
        """Refuse arguments that would have no effect."""
        if self.max_drop is None:
            for name in ("split", "eval_count", "engine", "device", "threads", "state", "plot"):
                if getattr(self, name) is not None:
                    raise ConfigError(f"{name} has no effect without a budget: add max_drop, or leave out {name}")
        if self.set_exists:
            for name in ("count", "seed"):
                if getattr(self, name) is not None:
                    raise ConfigError(
                        f"{name} has no effect, since the calibration set {self.calibration_set} exists: leave out "
                        f"{name}, or name a new calibration set"
                    )
            if self.max_drop is None and self.layout != "auto":
                raise ConfigError(
                    f"layout has no effect, since {self.calibration_set} names its images: leave out layout"
                )

    def _check_files(self) -> None:
        """Refuse outputs that are inputs, two outputs that are one file, and unknown picture formats."""
        if self.plot is not None and self.plot.suffix not in PLOT_SUFFIXES:
            raise ConfigError(f"plot is {self.plot}; expected a name that ends in {', '.join(PLOT_SUFFIXES)}")
        new_set = None if self.set_exists else self.calibration_set
        outputs = {"out": self.out, "state": self.state, "plot": self.plot, "calibration_set": new_set}
        check_output_files(outputs, self.checkpoint, self.data, self.calibration_set if self.set_exists else None)
