"""What `benchmarks.search` comes to: medians over seeds, and a plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over seeds, and the worst seed; of limits also how many choices were over it."""
    fronts, limits = of(rows, goal="pareto"), of(rows, goal="limit")
    most = max((row["measured"] for row in fronts), default=0)
    last = of(fronts, part="upper", measured=most)
    each = sorted({(row["device"], row["percentile"]) for row in limits})
    looked = of(rows, goal="strategy")
    return {
        "measured_networks": most,
        "hypervolume_verified": _each(last, "verified"),
        "hypervolume_predicted": _each(last, "predicted"),
        "by_measured": {
            part: {
                n: {
                    "verified": _each(own, "verified"),
                    "worst": _each(own, "verified", min),
                    "predicted": _each(own, "predicted"),
                }
                for n in _all(fronts, "measured")
                if (own := of(fronts, part=part, measured=n))
            }
            for part in _all(fronts, "part")
        },
        "strategies": {
            name: {
                n: _each(of(looked, strategy=name, measured=n), "lost")
                for n in _all(looked, "measured")
            }
            for name in _all(looked, "strategy")
        },
        "limit": {
            f"{device} {percentile}": _limited(of(limits, device=device, percentile=percentile))
            for device, percentile in each
        },
    }


def of(rows: Sequence[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    """Those rows that say what is wanted."""
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def _all(rows: Sequence[dict[str, Any]], name: str) -> list[Any]:
    return list(dict.fromkeys(row[name] for row in rows))


def _each(
    rows: Sequence[dict[str, Any]], name: str, of_seeds: Callable[[list[float]], Any] = np.median
) -> dict[str, float]:
    """By device."""
    devices = _all(rows, "device")
    return {d: float(of_seeds([r[name] for r in of(rows, device=d)])) for d in devices}


def _limited(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "lost_median": float(np.median([r["lost"] for r in rows])),
        "lost_most": max(r["lost"] for r in rows),
        "over_limit": sum(r["over_limit"] for r in rows),
        "measured_median": float(np.median([r["measured"] for r in rows])),
        "within_0.1": sum(r["lost"] <= 0.1 for r in rows),
        "searches": len(rows),
        "predicted_lost_median": float(np.median([r["predicted_lost"] for r in rows])),
        "predicted_over_limit": sum(r["predicted_over_limit"] for r in rows),
    }


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write a panel for each device: what fronts miss of the true one's hypervolume."""
    from matplotlib.figure import Figure

    fronts = of(rows, goal="pareto", part="upper")
    devices = _all(fronts, "device")
    figure = Figure(figsize=(3 * len(devices), 3.2), layout="constrained")
    for number, device in enumerate(devices, 1):
        axes = figure.add_subplot(1, len(devices), number, sharey=None)
        own = of(fronts, device=device)
        at = sorted({row["measured"] for row in own})
        for name, marker in (("verified", "o-"), ("predicted", "s--")):
            missed = [100 * (1 - _each(of(own, measured=n), name)[device]) for n in at]
            axes.plot(at, np.maximum(missed, 0.01), marker, label=name)
        axes.set(yscale="log", ylim=(0.01, 20), title=device, xlabel="measured networks")
    figure.axes[0].set_ylabel("missed of the hypervolume (%)")
    figure.axes[0].legend()
    figure.savefig(path, dpi=110)
