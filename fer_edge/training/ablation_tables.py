"""The paper's ablations, Tables IV, V and VI, as changes of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GRID = {"model.grid": 12}  # the paper's grid, which all of its patches divide; maps of other presets are pooled to it
ALL_PATCHES = {"model.patches": [2, 4, 6, 12]}
NO_TEXT = {"model.text_head": False, "text": "learned"}


@dataclass(frozen=True)
class Variant:
    """One row of a table."""

    name: str
    settings: Mapping[str, Any]  # settings of a recipe, see `recipe.change_settings`
    paper: tuple[float, float]  # accuracy in the paper in percent, on RAF-DB and on FERPlus


@dataclass(frozen=True)
class Ablation:
    """One table of the paper."""

    title: str
    variants: tuple[Variant, ...]


def _variant(name: str, settings: Mapping[str, Any], rafdb: float, ferplus: float) -> Variant:
    return Variant(name, {**GRID, **ALL_PATCHES, **settings}, (rafdb, ferplus))


ABLATIONS: dict[str, Ablation] = {
    "IV": Ablation(
        "MGEI (patches of several sizes) and HDSS (steering token and text head)",
        (
            _variant("neither", {"model.patches": [2], **NO_TEXT}, 89.80, 90.07),
            _variant("MGEI", NO_TEXT, 90.45, 90.39),
            _variant("HDSS", {"model.patches": [2]}, 90.81, 90.71),
            _variant("MGEI and HDSS", {}, 91.30, 90.96),
        ),
    ),
    "V": Ablation(
        "prompts",
        (
            _variant("without text", NO_TEXT, 90.45, 90.39),
            _variant("single word", {"templates": ["word"]}, 90.81, 90.61),
            _variant("phrase", {"templates": ["phrase"]}, 91.30, 90.90),
            _variant("active sentence", {"templates": ["active"]}, 91.13, 90.96),
            _variant("passive sentence", {"templates": ["passive"]}, 90.97, 90.87),
        ),
    ),
    "VI": Ablation(
        "patch sizes",
        (
            _variant("2", {"model.patches": [2]}, 90.81, 90.71),
            _variant("3", {"model.patches": [3]}, 90.38, 90.39),
            _variant("4", {"model.patches": [4]}, 90.91, 90.10),
            _variant("6", {"model.patches": [6]}, 90.48, 90.42),
            _variant("2, 4, 6", {"model.patches": [2, 4, 6]}, 90.81, 90.45),
            _variant("2, 4, 6, 12", {}, 91.30, 90.96),
        ),
    ),
}
