"""Learning curves: rank correlation over samples, for each method, beside what was published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.evaluate import Outcome, grouped, mean_spearman
from benchmarks.paper_figures import PUBLISHED

FAMILIES = 9
"""Curves that a plot has room for: the best encoding of each method, the best methods."""


def plot_task(task: str, outcomes: Sequence[Outcome], path: Path) -> None:
    """Write one task's curves as PNG."""
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.add_subplot()
    for label, points in _curves(outcomes):
        ours = label.startswith("mixture")
        axes.plot(
            list(points),
            list(points.values()),
            marker="o",
            markersize=4,
            linewidth=2.5 if ours else 1.2,
            linestyle="--" if label.endswith("random") else "-",
            color=("C3" if ours else None),
            label=label,
        )
    for marker, published in zip("^sDvP*X<>", _published(task), strict=False):
        label = f"{published.method}, published"
        rho = published.spearman[task]
        axes.plot(published.samples, rho, marker, color="black", markersize=6, label=label)
    axes.set(
        title=f"{task}: a new device from few samples",
        xlabel="networks measured on the new device",
        ylabel="mean Spearman over the test devices",
    )
    axes.set_xticks(sorted({outcome.samples for outcome in outcomes}))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _curves(outcomes: Sequence[Outcome]) -> list[tuple[str, dict[int, float]]]:
    """(label, {samples: rho}), ours first, then the best of the others."""
    best: dict[tuple[str, str], tuple[str, dict[int, float]]] = {}
    for (method, select), own in grouped(outcomes, "method", "select").items():
        points = {
            n: rho
            for (n,), same in grouped(own, "samples").items()
            if (rho := mean_spearman(same)) is not None
        }
        if points:
            key = (method.partition(":")[0], select)
            last = max(points)
            if key not in best or points[last] > best[key][1].get(last, -1.0):
                best[key] = (f"{method}, {select}", points)
    ours = [curve for (name, _), curve in best.items() if name == "mixture"]
    others = [
        curve
        for (name, select), curve in best.items()
        if name != "mixture" and (select == "random" or (name, "random") not in best)
    ]
    others.sort(key=lambda curve: -curve[1][max(curve[1])])
    return [*ours, *others[:FAMILIES]]


def _published(task: str) -> list:  # type: ignore[type-arg]
    """Published figures of up to 20 samples, the best of each method and number of samples."""
    found = [p for p in PUBLISHED if task in p.spearman and 0 < p.samples <= 20]
    kept = {}
    for p in sorted(found, key=lambda p: p.spearman[task]):
        kept[(p.method, p.samples)] = p
    return list(kept.values())
