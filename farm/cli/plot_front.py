"""A search's front as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from farm.pictures import plain_ticks, save
from farm.search.found import Candidate, Found


def plot_front(found: Found, path: Path) -> None:
    """Write a panel for each device: accuracy against latency, with intervals, and what prediction
    alone would have chosen. Raises UsageError for a file of another kind."""
    devices = list(next((one.on for one in (*found.front, *found.alone.networks)), {}))
    figure = Figure(figsize=(6 * max(1, len(devices)), 4.5), layout="constrained")
    for number, device in enumerate(devices, 1):
        axes = figure.add_subplot(1, len(devices), number)
        if device in found.limit_s:
            axes.axvline(1e3 * found.limit_s[device], color="grey", linestyle=":", label="limit")
        _points(axes, found.alone.networks, device, "s", "by prediction alone, as known now")
        _points(axes, found.front, device, "o", "chosen, verified")
        axes.set(xscale="log", xlabel=f"latency on {device} (ms)", ylabel="accuracy")
        plain_ticks(axes.xaxis)
        axes.legend(loc="lower right")
    figure.suptitle(f"{found.campaign}: {found.measured} of {found.candidates} networks measured")
    save(figure, path)


def _points(
    axes: Axes, networks: Sequence[Candidate], device: str, marker: str, label: str
) -> None:
    on = [one.on[device] for one in networks]
    latency = [1e3 * one.latency_s for one in on]
    error = [
        [1e3 * (one.latency_s - one.low_s) for one in on],
        [1e3 * (one.high_s - one.latency_s) for one in on],
    ]
    accuracy = [one.accuracy for one in networks]
    axes.errorbar(latency, accuracy, xerr=error, fmt=marker, capsize=3, elinewidth=1, label=label)
