"""What `benchmarks.metalearn` found, beside what MP-NAS publishes: a table, and its figure 3.

    python -m benchmarks.metalearn_report benchmarks/results/2026-11-28-metalearn.json
    python -m benchmarks.metalearn_report FILE... --plot docs/metalearn.png

Files are those that it wrote as `--json`. A row is a method, a column a task; a cell has Spearman
with each number of samples, the fewest first. Published: Loya et al. 2023, tables 2, 3, 4 and 6.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from predictors.models.meta import LEARNERS

Row = dict[str, Any]
Space = tuple[str, tuple[str, ...]]
"""The table that was predicted, and those that were learnt from."""

_TB101 = (
    *("class_scene", "class_object", "jigsaw", "room_layout", "segmentsemantic", "normal"),
    "autoencoder",
)
_NB201 = ("cifar10", "cifar100", "ImageNet16-120")
_SAME = {
    "MP-NAS": {
        0: (0.76, 0.78, 0.76, 0.64, 0.62, 0.74, 0.28),
        5: (0.88, 0.78, 0.77, 0.79, 0.83, 0.81, 0.42),
        25: (0.89, 0.82, 0.79, 0.92, 0.91, 0.81, 0.68),
        50: (0.91, 0.83, 0.80, 0.93, 0.92, 0.84, 0.76),
    },
    "naive": {5: (0.80, 0.73, 0.71, 0.73, 0.77, 0.80, 0.43)},
    "random": {
        5: (0.66, 0.47, 0.51, 0.35, 0.70, 0.60, 0.11),
        50: (0.81, 0.66, 0.63, 0.66, 0.81, 0.81, 0.32),
    },
}
_ACROSS = {
    "MP-NAS": {5: (0.87, 0.74, 0.74, 0.72, 0.83, 0.79, 0.47)},
    "naive": {5: (0.76, 0.63, 0.62, 0.59, 0.74, 0.72, 0.40)},
    "random": {5: _SAME["random"][5]},
}
_IN_NB201 = {
    "MP-NAS": {5: (0.92, 0.93, 0.89)},
    "naive": {5: (0.73, 0.73, 0.74)},
    "random": {5: (0.60, 0.61, 0.60)},
}
_IN_NB101 = {"MP-NAS": {5: (0.46,)}, "naive": {5: (0.40,)}, "random": {5: (-0.06,)}}

Figures = Mapping[str, Mapping[int, Sequence[float]]]

PUBLISHED: Mapping[Space, tuple[Sequence[str], Figures]] = {
    ("tb101_micro", ("tb101_micro",)): (_TB101, _SAME),
    ("tb101_micro", ("nb201",)): (_TB101, _ACROSS),
    ("nb201", ("nb201",)): (_NB201, _IN_NB201),
    ("nb101", ("nb201",)): (("cifar10",), _IN_NB101),
}
"""Tasks, and {method: {samples: Spearman of each task}}."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser("python -m benchmarks.metalearn_report", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("files", type=Path, nargs="+", help="what metalearn wrote as --json")
    parser.add_argument("--plot", type=Path, help="a PNG of figure 3")
    parsed = parser.parse_args(arguments)
    rows = [row for file in parsed.files for row in json.loads(file.read_text())["rows"]]
    for space in dict.fromkeys(map(_space, rows)):
        print("\n".join(table(space, [row for row in rows if _space(row) == space])), end="\n\n")
    if parsed.plot:
        plot(rows, parsed.plot)
    return 0


def _space(row: Row) -> Space:
    return row["table"], tuple(row["learnt_from"])


def table(space: Space, rows: Sequence[Row]) -> Iterator[str]:
    """Lines of Markdown: a row for each method, published ones last."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    yield f"{space[0]}, learnt from {', '.join(space[1])}:\n"
    yield f"| | samples | {' | '.join(tasks)} | mean |"
    yield "|---" * (len(tasks) + 3) + "|"
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        found = {(row["task"], row["samples"]): row["spearman"] for row in own}
        counts = sorted({row["samples"] for row in own})
        yield _line(f"`{method}`", counts, [[found.get((t, n)) for n in counts] for t in tasks])
    names, published = PUBLISHED.get(space, ((), {}))
    for method, by_samples in published.items():
        known = dict(zip(names, zip(*by_samples.values(), strict=True), strict=True))
        cells = [known.get(task, [None] * len(by_samples)) for task in tasks]
        yield _line(f"{method}, published", list(by_samples), cells)


def _line(method: str, counts: Sequence[int], cells: Sequence[Sequence[float | None]]) -> str:
    means = [
        None if any(rho is None for rho in column) else float(np.mean(np.array(column, float)))
        for column in zip(*cells, strict=True)
    ]
    words = ["/".join(_short(rho) for rho in cell) for cell in [*cells, means]]
    return f"| {method} | {'/'.join(map(str, counts))} | {' | '.join(words)} |"


def _short(rho: float | None) -> str:
    return "–" if rho is None else f"{rho:.3f}".replace("0.", ".", 1)


def plot(rows: Sequence[Row], path: Path) -> None:
    """The meta-learners and our mixture on TransNAS-Bench-101 micro: the mean of its tasks over
    samples, as MP-NAS's figure 3, with its table 3."""
    space = ("tb101_micro", ("tb101_micro",))
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for method in (*LEARNERS, "mixture_vec", "mixture"):
        own = [row for row in rows if _space(row) == space and row["method"] == method]
        counts = sorted({row["samples"] for row in own})
        if not own:
            continue
        means = [np.mean([r["spearman"] for r in own if r["samples"] == n]) for n in counts]
        axes.plot(counts, means, marker="o", linewidth=2.5 if method == "mixture" else 1.5)
        axes.lines[-1].set_label(method)
    known = PUBLISHED[space][1]["MP-NAS"]
    axes.plot(list(known), [np.mean(of) for of in known.values()], "k^", label="MP-NAS, published")
    axes.set(
        title="TransNAS-Bench-101 micro, each task from the six others",
        xlabel="trained networks of the new task",
        ylabel="mean Spearman",
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    sys.exit(main())
