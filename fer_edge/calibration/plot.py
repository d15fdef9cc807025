"""The search for layers to keep in float, as a picture."""

from __future__ import annotations

from pathlib import Path

from fer_edge.calibration.sensitivity import SearchResult
from fer_edge.errors import EngineUnavailableError
from fer_edge.evaluation.pictures import save_plot

FLOOR = 1e-9  # of a divergence on a logarithmic axis


def plot_search(result: SearchResult, path: Path) -> None:
    """Write a picture: how much each layer harms alone, and accuracy as layers return to float.

    Args:
        result: Of the search.
        path: `.svg`, `.png` or `.pdf`.

    Raises:
        EngineUnavailableError: Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EngineUnavailableError(f'plots need Matplotlib ({error}); run: pip install "fer-edge[report]"') from error
    names = list(result.alone)
    figure = Figure(figsize=(max(8.0, 0.22 * len(names) + 4), 6.5), layout="constrained")
    alone, together = figure.subplots(2, 1, gridspec_kw={"height_ratios": [3, 2]})
    kept = set(result.kept)
    colours = ["tab:red" if name in kept else "tab:blue" for name in names]
    alone.bar(range(len(names)), [max(result.alone[name].divergence, FLOOR) for name in names], color=colours)
    alone.set_yscale("log")
    alone.set_ylabel("divergence, nats")
    alone.set_title("One layer in int8, all others in float" + ("; red: kept in float" if kept else ""))
    alone.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    alone.margins(x=0.01)
    steps = [*result.together, *result.beyond]
    together.plot([len(step.kept) for step in steps], [step.score.drop for step in steps], "o-")
    together.plot(len(result.kept), result.together[-1].score.drop, "o", color="tab:red", label="chosen")
    together.axhline(result.max_drop, linestyle="--", color="grey", label="budget")
    together.set_xlabel("layers kept in float, the most harmful first")
    together.set_ylabel("accuracy drop, points")
    together.set_xlim(-0.5, max(len(step.kept) for step in steps) + 0.5)
    together.xaxis.get_major_locator().set_params(integer=True)
    together.legend()
    save_plot(figure, path)
