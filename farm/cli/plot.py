"""The picture after a campaign: predicted against measured latencies of held-out networks."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from farm.errors import UsageError
from farm.learn import Judgement
from farm.summary import Summary

_FORMATS = (".png", ".svg", ".pdf")


def plot_predictions(summary: Summary, path: Path) -> None:
    """Write a panel for each device. Raises UsageError for a file of another kind."""
    if path.suffix not in _FORMATS:
        raise UsageError(f"a plot is {', '.join(_FORMATS)}, got {str(path)!r}")
    judged = {name: j for name, j in summary.judgements.items() if j.predictions}
    figure = Figure(figsize=(4.5 * max(1, len(judged)), 4.5), layout="constrained")
    for panel, (device, judgement) in enumerate(judged.items(), 1):
        _panel(figure.add_subplot(1, len(judged), panel), device, judgement)
    figure.suptitle(f"Campaign {summary.campaign.id}: held-out networks, 95 % intervals")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _panel(axes: Axes, device: str, judgement: Judgement) -> None:
    points = judgement.predictions
    measured = [p.measured_s * 1e3 for p in points]
    predicted = [p.predicted_s * 1e3 for p in points]
    below = [(p.predicted_s - p.low_s) * 1e3 for p in points]
    above = [(p.high_s - p.predicted_s) * 1e3 for p in points]
    axes.errorbar(measured, predicted, yerr=[below, above], fmt="o", capsize=3, elinewidth=1)
    ends = [min(measured + predicted) * 0.8, max(measured + predicted) * 1.25]
    axes.plot(ends, ends, color="grey", linewidth=1, linestyle="--")
    axes.set(xscale="log", yscale="log", xlabel="measured (ms)", ylabel="predicted (ms)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    rho = "" if judgement.spearman is None else f": Spearman {judgement.spearman:.3f}"
    axes.set_title(f"{device}{rho}, {len(points)} networks")
