"""What meta-learning needs of the tasks that it learns from, on tasks made of one by noise.

    python -m benchmarks.metalearn_synthetic
    python -m benchmarks.metalearn_synthetic --method boil,mixture_vec --draws 10 --json

MP-NAS (Loya et al. 2023), section 4.1, equation 8 and figure 2: CIFAR-100's accuracies of
NAS-Bench-201 with noise of its own for each task. (A) how alike tasks are, (B) how many there are,
(C) how many are noise alone. The new task is as noisy as the others, so that no predictor reaches
1: `most` is the Spearman of the accuracies without noise. Half of the table is learnt from (the
paper: 256 networks), 5 samples of the other half are adapted to.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import metalearn
from benchmarks.accuracy_file import AccuracyFile, find
from benchmarks.arguments import natural, positive, words
from benchmarks.report import finish, keeping
from farm.core.errors import FarmError
from predictors import metrics
from predictors.models.accuracy_mixture import limited_scores
from predictors.models.cell_gcn import Size
from predictors.models.meta import Settings

ALIKE, TASKS = 0.8, 10
"""What the other parts keep: the correlation of two tasks, and how many are learnt from."""

PARTS = {
    "A": [(alike, TASKS, 0) for alike in (0.2, 0.4, 0.6, 0.8, 0.95)],
    "B": [(ALIKE, tasks, 0) for tasks in (1, 2, 5, 10, 20)],
    "C": [(ALIKE, TASKS, noise) for noise in (0, 10, 30, 100)],
}
"""(correlation, related tasks, tasks of noise alone) of each point of figure 2."""

NEW = "new"

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 2 for words that it does not know, 0 otherwise."""
    parser = argparse.ArgumentParser("python -m benchmarks.metalearn_synthetic")
    parser.description, parser.formatter_class = __doc__, argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--part", type=words, default=list(PARTS), help="of A, B, C (all)")
    add("--method", type=words, default=["boil", "mixture_vec"], help="as of metalearn")
    add("--draws", type=positive, default=3, help="of noise, networks and samples (3)")
    add("--seed", type=natural, default=0, help="the first one (0)")
    add("--width", type=positive, default=metalearn.WIDTH, help="of a graph convolution")
    add("--iterations", type=natural, default=metalearn.ITERATIONS, help="outer steps")
    add("--rows", type=Path, help="a file to which each row is added when it is found")
    add("--json", action="store_true", help="one JSON object on stdout")
    parsed = parser.parse_args(arguments)
    try:
        rows = list(keeping(run(parsed), parsed.rows))
    except FarmError as error:
        print(f"metalearn_synthetic: {error}", file=sys.stderr)
        return error.exit_code
    finish("metalearn_synthetic", rows, {}, parsed.json)
    return 0


def run(parsed: argparse.Namespace) -> Iterator[Row]:
    """A row for each point, method and number of samples, the mean over draws."""
    file = find(Path("accuracy_nb201.npz"))
    points = dict.fromkeys(point for part in parsed.part for point in PARTS[part])
    for alike, tasks, noise in points:
        found: dict[tuple[str, int], list[float]] = {}
        most = []
        for seed in range(parsed.seed, parsed.seed + parsed.draws):
            made = table(file, alike, tasks, noise, seed)
            clean = file.accuracy[file.index("cifar100")]
            most.append(metrics.spearman(clean, made.accuracy[made.index(NEW)]))
            for row in metalearn.run(made, [], _options(parsed, seed)):
                found.setdefault((row["method"], row["samples"]), []).append(row["spearman"])
        where = {"correlation": alike, "tasks": tasks, "noise": noise, "most": np.mean(most)}
        for (method, samples), ranks in found.items():
            keys = {"method": method, "samples": samples}
            yield where | keys | {"spearman": np.mean(ranks), "std": np.std(ranks)}


def _options(parsed: argparse.Namespace, seed: int) -> metalearn.Options:
    settings = Settings(
        size=Size(parsed.width, 4, 0.0, even=True),
        iterations=parsed.iterations,
        outer_rate=metalearn.RATE,
        seed=seed,
    )
    return metalearn.Options(tuple(parsed.method), (0, 5), range(seed, seed + 1), settings, (NEW,))


def table(file: AccuracyFile, alike: float, tasks: int, noise: int, seed: int) -> AccuracyFile:
    """CIFAR-100 with noise, `tasks` times and once more as the new task, any two of which correlate
    at `alike`; and `noise` tasks that are nothing but noise."""
    rng = np.random.default_rng(seed)
    own = limited_scores(file.accuracy[file.index("cifar100")])
    signal = np.concatenate([np.tile(own / own.std(), (tasks + 1, 1)), np.zeros((noise, len(own)))])
    accuracy = signal + np.sqrt(1 / alike - 1) * rng.normal(size=signal.shape)
    names = (NEW, *(f"task {k}" for k in range(1, tasks + noise + 1)))
    zcp = np.empty((*accuracy.shape, 0))
    return replace(file, tasks=names, accuracy=accuracy, zcp=zcp, zcp_names=())


if __name__ == "__main__":
    sys.exit(main())
