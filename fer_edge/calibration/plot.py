"""Plot of the search for float layers."""

from __future__ import annotations

from pathlib import Path

from fer_edge._require import require
from fer_edge.calibration.sensitivity import SearchResult
from fer_edge.evaluation.pictures import save_plot

FLOOR = 1e-9  # smallest divergence on the logarithmic axis


def plot_search(result: SearchResult, path: Path) -> None:
    """Plot the divergence that each layer causes alone, and the accuracy drop over the number of float layers.

    Args:
        result: Result of the search.
        path: Picture to write: `.svg`, `.png` or `.pdf`.

    Raises:
        EngineUnavailableError: Matplotlib is not installed.
    """
    figure_module = require("matplotlib.figure", "report", "plotting")
    names = list(result.alone)
    figure = figure_module.Figure(figsize=(max(8.0, 0.22 * len(names) + 4), 6.5), layout="constrained")
    alone, together = figure.subplots(2, 1, gridspec_kw={"height_ratios": [3, 2]})
    float_layers = set(result.float_layers)
    colours = ["tab:red" if name in float_layers else "tab:blue" for name in names]
    alone.bar(range(len(names)), [max(result.alone[name].divergence, FLOOR) for name in names], color=colours)
    alone.set_yscale("log")
    alone.set_ylabel("divergence, nats")
    alone.set_title("One layer in int8, all others in float" + ("; red: stays in float" if float_layers else ""))
    alone.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    alone.margins(x=0.01)
    steps = [*result.together, *result.beyond]
    counts = [len(step.float_layers) for step in steps]
    together.plot(counts, [step.score.drop for step in steps], "o-")
    together.plot(len(float_layers), result.together[-1].score.drop, "o", color="tab:red", label="chosen")
    together.axhline(result.max_drop, linestyle="--", color="grey", label="budget")
    together.set_xlabel("layers in float, in order of divergence")
    together.set_ylabel("accuracy drop, points")
    together.set_xlim(-0.5, max(counts) + 0.5)
    together.xaxis.get_major_locator().set_params(integer=True)
    together.legend()
    save_plot(figure, path)
