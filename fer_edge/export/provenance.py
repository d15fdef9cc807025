"""Records of the inputs of a build, for the manifest of its bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fer_edge._files import file_sha256
from fer_edge.manifest import DataRecord, Provenance, RecipeRecord

if TYPE_CHECKING:
    from fer_edge.graph.ranges import Ranges


def provenance_of(ranges: Ranges | None, recipe: RecipeRecord | None) -> Provenance:
    """Return the record of the inputs of a build besides the checkpoint.

    Args:
        ranges: Activation ranges; None without any.
        recipe: Record of the build recipe; None without one.
    """
    if ranges is None:
        return Provenance(recipe=recipe)
    images, search = ranges.images, ranges.search
    data = [_data_record("calibration", images, images.get("count"))]
    if search:
        data.append(_data_record("evaluation", search, search.get("images")))
    return Provenance(ranges.sha256(), tuple(data), recipe)


def recipe_record(path: Path, overrides: Sequence[str]) -> RecipeRecord:
    """Return the record of a build recipe.

    Args:
        path: TOML file.
        overrides: Settings that options replaced by other values.
    """
    return RecipeRecord(_printable(path.stem), file_sha256(path), tuple(overrides))


def _data_record(use: Literal["calibration", "evaluation"], about: Mapping[str, Any], count: Any) -> DataRecord:
    """Return the record of images from their description in a ranges file, whose values may have any type."""
    name, digest = (value if isinstance(value := about.get(key), str) else "" for key in ("source", "sha256"))
    return DataRecord(use, _printable(name), count if type(count) is int and count > 0 else 0, digest)


def _printable(name: str) -> str:
    """Return a name in the form that a manifest may contain: other than printable characters are escaped."""
    return name if name.isprintable() else name.encode("unicode_escape").decode("ascii")
