"""What `fer-edge calibrate` prints: ranges, and the outcome of a search with what its images resolve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fer_edge.calibration.ranges import Ranges
    from fer_edge.calibration.sensitivity import SearchResult

WORST = 10  # layers that are listed


def images_allowed(images: int, max_drop: float) -> int:
    """Images that a budget, in points, allows to be lost."""
    return int(images * max_drop / 100 + 1e-9)


def resolution(images: int, max_drop: float) -> str:
    """State what an accuracy budget, in points, means on so many images."""
    allowed = images_allowed(images, max_drop)
    text = f"{images} images resolve {100 / images:.2g} points; a budget of {max_drop:g} allows {allowed} of them lost"
    return f"{text}: take more images or a larger budget" if not allowed and max_drop else text


def describe(ranges: Ranges, result: SearchResult | None) -> dict[str, Any]:
    """Result for machines: all but the ranges themselves."""
    described: dict[str, Any] = {
        "method": ranges.method, "images": ranges.images, "layers": ranges.kinds, "kept": ranges.kept,
    }  # fmt: skip
    if result is not None:
        from fer_edge.calibration.score import drop_interval

        count = ranges.search["images"]
        described |= vars(result)
        described |= {
            "images_scored": count,
            "resolution": 100 / count,
            "images_allowed": images_allowed(count, result.max_drop),
            "drop_interval": drop_interval(result.together[-1].score, count),
        }
    return described


def print_result(out: Path, ranges: Ranges, result: SearchResult | None, *, every: bool) -> None:
    """Print a summary of the ranges, and the search's tables.

    Args:
        out: File of the ranges.
        ranges: The ranges.
        result: Outcome of the search; None where there was none.
        every: Whether to list every layer, and not the worst alone.
    """
    from fer_edge.cli.output import console

    images = ranges.images
    console().print(
        f"{out}: {len(ranges.tensors)} ranges by {ranges.method}, on {images['count']} images of {images['source']}",
        soft_wrap=True,
    )
    if result is not None:
        _print_search(result, ranges.search["images"], every)


def _print_search(result: SearchResult, images: int, every: bool) -> None:
    from fer_edge.calibration.score import drop_interval
    from fer_edge.cli.output import console, print_note, print_table

    total = sum(result.macs.values())
    ordered = sorted(result.alone.items(), key=lambda item: -item[1].divergence)
    listed = ordered if every else ordered[:WORST]
    rows = [
        (
            name, f"{score.divergence:.2e}", f"{score.drop:+.2f}", f"{score.agreement:.2f}",
            f"{100 * result.macs[name] / total:.1f}", "float" if name in result.kept else "int8",
        )
        for name, score in listed
    ]  # fmt: skip
    columns = ("layer", "divergence", "drop", "agree %", "macs %", "stays")
    print_table("each layer in int8 alone, the most harmful first", columns, rows)
    if len(listed) < len(ordered):
        print_note(f"the worst {len(listed)} of {len(ordered)} layers; --all lists every one")
    steps = [
        (
            len(step.kept), f"{step.score.divergence:.2e}", f"{step.score.drop:+.2f}",
            f"{drop_interval(step.score, images):.2f}", f"{step.score.agreement:.2f}",
        )
        for step in (*result.together, *result.beyond)
    ]  # fmt: skip
    print_table("together", ("layers in float", "divergence", "drop", "+/-", "agree %"), steps)
    console().print(
        f"budget of {result.max_drop:g} points met with {len(result.kept)} layers in float; +/- is half of a drop's "
        f"95 % interval, at least one image ({100 / images:.2g} points)",
        soft_wrap=True,
    )
