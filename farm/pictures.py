"""Pictures: predicted against measured latencies after a campaign, a device's control networks,
accuracies against latencies, and what each reference device adds."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from farm.campaign.learning import Curve
from farm.campaign.summary import Summary
from farm.core.errors import UsageError
from farm.core.hosts import make_writable
from farm.devices.health import Health
from farm.prediction.evaluation import Judgement
from farm.prediction.reference_sets import Choice
from farm.search.known import BelievedFront, KnownFront

_FORMATS = (".png", ".svg", ".pdf")


def plot_predictions(summary: Summary, path: Path) -> None:
    """Write `predictions`. Raises UsageError for a file of another kind."""
    save(predictions(summary), path)


def predictions(summary: Summary) -> Figure:
    """Predicted against measured latencies, a panel for each device."""
    judged = {name: j for name, j in summary.judgements.items() if j.predictions}
    figure = Figure(figsize=(4.5 * max(1, len(judged)), 4.5), layout="constrained")
    for panel, (device, judgement) in enumerate(judged.items(), 1):
        _panel(figure.add_subplot(1, len(judged), panel), device, judgement)
    figure.suptitle(f"Campaign {summary.campaign.id}: held-out networks, 95 % intervals")
    return figure


def learning(curves: Mapping[str, Curve]) -> Figure:
    """How well each device was predicted after so many networks, and what is forecast."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot()
    for device, curve in curves.items():
        points = [(p.networks, p.spearman) for p in curve.points if p.spearman is not None]
        at, spearman = [n for n, _ in points], [rho for _, rho in points]
        (line,) = axes.plot(at, spearman, "o-", label=device)
        if curve.ahead:
            begin = max(at, default=0)
            ahead = [begin + more for more in curve.ahead]
            low, high = ([getattr(f, end) for f in curve.ahead.values()] for end in ("low", "high"))
            axes.fill_between(ahead, low, high, alpha=0.25, color=line.get_color(), linewidth=0)
    axes.set(xlabel="networks learnt from", ylabel="rank correlation (Spearman)", ylim=(None, 1.02))
    if curves:
        axes.legend(loc="lower right")
    return figure


def plot_health(device: str, health: Health, path: Path) -> None:
    """Write `chart`. Raises UsageError as `plot_predictions`."""
    save(chart(device, health), path)


def chart(device: str, health: Health) -> Figure:
    """The control chart of a device's control networks."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot()
    rounds = list(enumerate(health.rounds))
    seen = [(i, one.shift * 100, one.invalidated) for i, one in rounds if one.shift is not None]
    for invalidated, marker, label in ((False, "o", "round"), (True, "x", "invalidated")):
        part = [(i, shift) for i, shift, why in seen if (why is not None) == invalidated]
        if part:
            axes.plot(*zip(*part, strict=True), marker, label=label)
    charted = [(i, one.ewma, one.limit) for i, one in rounds if one.ewma is not None and one.limit]
    at = [i for i, _, _ in charted]
    axes.plot(at, [100 * ewma for _, ewma, _ in charted], label="moving average")
    for sign in (-1, 1):
        axes.plot(at, [sign * 100 * limit for _, _, limit in charted], "--", color="grey")
    axes.set(
        xlabel="round of control networks",
        ylabel="off their level (%)",
        title=f"Control networks of {device}",
    )
    if seen:
        axes.legend()
    return figure


def plot_choice(chosen: Sequence[Choice], path: Path) -> None:
    """Write what reference devices explain of the others, one after the other. Raises UsageError as
    `plot_predictions`."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    at = range(1, len(chosen) + 1)
    devices = [one.device.removeprefix("published ") for one in chosen]
    axes.plot(at, [100 * one.explained for one in chosen], "o-", label="all others, on average")
    worst = [(i, one.worst) for i, one in zip(at, chosen, strict=True) if one.worst is not None]
    left = [100 * share for _, (_, share) in worst]
    axes.plot([i for i, _ in worst], left, "s--", label="the one that is explained worst")
    axes.set_xticks(at, [f"{i}: {device}" for i, device in zip(at, devices, strict=True)])
    for label in axes.get_xticklabels():
        label.set(rotation=30, horizontalalignment="right")
    axes.set(xlabel="reference devices, as chosen", ylabel="explained variance (%)", ylim=(0, 102))
    axes.legend(loc="lower right")
    save(figure, path)


def front(found: KnownFront, believed: BelievedFront | None) -> Figure:
    """Accuracy against latency of what was measured on a device, with the Pareto front, and the
    front of what is predicted, with 95 % intervals."""
    figure = Figure(figsize=(8, 5.3), layout="constrained")
    axes = figure.add_subplot()
    latency_ms = 1e3 * found.latency_s
    axes.scatter(latency_ms, found.accuracy, s=12, alpha=0.5, label="measured")
    best = found.front
    axes.step(latency_ms[best], found.accuracy[best], "o-", where="post", label="Pareto front")
    if believed is not None:
        at_ms, ends = 1e3 * believed.latency_s, (believed.low_s, believed.high_s)
        error = [np.abs(1e3 * end - at_ms) for end in ends]
        label = "front as predicted"
        axes.errorbar(at_ms, believed.accuracy, xerr=error, fmt=".", elinewidth=0.7, label=label)
    axes.set(xscale="log", xlabel=f"latency on {found.device} (ms)", ylabel="accuracy")
    plain_ticks(axes.xaxis)
    axes.legend(loc="lower right")
    return figure


def must_be_plot(path: Path) -> None:
    """Raises UsageError for a file of another kind than pictures are, or in no folder that can be
    written to."""
    if path.suffix not in _FORMATS:
        raise UsageError(f"a plot is {', '.join(_FORMATS)}, got {str(path)!r}")
    try:
        make_writable(path.parent)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as e:
        raise _unwritable(path, e) from e


def save(figure: Figure, path: Path) -> None:
    """Raises UsageError as `must_be_plot`."""
    must_be_plot(path)
    try:
        figure.savefig(path, dpi=150)
    except OSError as e:
        raise _unwritable(path, e) from e


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"{path} cannot be written: {error.strerror}; --plot names another")


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
        plain_ticks(axis)
    rho = "" if judgement.spearman is None else f": Spearman {judgement.spearman:.3f}"
    axes.set_title(f"{device}{rho}, {len(points)} networks")


def plain_ticks(axis: Axis) -> None:
    """On a logarithmic axis 1, 2, 5 and 10 instead of powers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())
