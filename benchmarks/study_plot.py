"""Learning curves of the study, a panel for each device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

OURS = ("ours", "ours_alone")


def plot(kendall: Mapping[str, Mapping[str, Mapping[int, float]]], path: Path) -> None:
    """Write a PNG. kendall: {predictor: {device: {samples: tau}}}."""
    from matplotlib.figure import Figure

    devices = list(dict.fromkeys(device for each in kendall.values() for device in each))
    figure = Figure(figsize=(5 * len(devices), 5), layout="constrained")
    for number, device in enumerate(devices, 1):
        axes = figure.add_subplot(1, len(devices), number)
        for place, (name, each) in enumerate(kendall.items()):
            ours, own = name in OURS, each.get(device, {})
            style: dict[str, Any] = {"linewidth": 2.5 if ours else 1, "label": name}
            axes.plot(list(own), list(own.values()), f"{'o^sDv'[place % 5]}-", ms=4, **style)
        axes.set(xscale="log", title=device, xlabel="training networks")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("Kendall's tau")
    figure.axes[-1].legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90, metadata={"Software": None})
