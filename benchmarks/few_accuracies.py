"""How well the accuracies of a space are predicted from a few results, as `farm search` does it.

    python -m benchmarks.few_accuracies --results 10,20,50,100 --seeds 5 --json

`--accuracy predicted:FILE` on NAS-Bench-201's published accuracies on CIFAR-10: results of random
networks, judged by OTHERS that are not among them.

    spearman  rank correlation; upper: among the more accurate half alone
    off       the median of how far off predictions are, in points
    within    the share of the others in their 95 % interval
    lost      points that the best of the others by prediction is below the best there is
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks import published
from benchmarks.arguments import counts, natural, positive
from benchmarks.report import finish, say
from farm.core.errors import FarmError
from farm.core.values import Network
from farm.search.few import PARTS, Predicted
from farm.spaces import space
from predictors import metrics

OTHERS = 1000
RESULTS = (10, 20, 50, 100)

Row = dict[str, Any]


def run(results: Sequence[int], seeds: range) -> Iterator[Row]:
    """A row for each number of results and seed. Raises UsageError."""
    with np.load(published.folder() / "nb201.npz") as data:
        each = [Network("nb201", str(code)) for code in data["arch_str"]]
        accuracy = data["acc"][:, 0].astype(float)
    nb201 = space("nb201")
    for n in results:
        for seed in seeds:
            order = np.random.default_rng(seed).permutation(len(each))
            trained = {each[row]: float(accuracy[row]) for row in order[:n]}
            others, truth = [each[row] for row in order[-OTHERS:]], accuracy[order[-OTHERS:]]
            source = Predicted(nb201, trained, seed)
            mean, off = source(others), source.off(others)
            upper = truth > np.median(truth)
            yield {
                "results": n,
                "seed": seed,
                "spearman": metrics.spearman(mean, truth),
                "upper": metrics.spearman(mean[upper], truth[upper]),
                "off": float(np.median(np.abs(mean - truth))),
                "within": float((np.abs(mean - truth) <= off).mean()),
                "lost": float(truth.max() - truth[np.argmax(mean)]),
                "said": source.surety.spearman,
            }


def summary(rows: Sequence[Row]) -> Row:
    """Medians over seeds, for each number of results; of `within` the mean."""
    found: Row = {}
    for n in dict.fromkeys(row["results"] for row in rows):
        own = [row for row in rows if row["results"] == n]
        names = ("spearman", "upper", "off", "lost", "said")
        found[n] = {name: float(np.median([row[name] or 0.0 for row in own])) for name in names}
        found[n]["within"] = float(np.mean([row["within"] for row in own]))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 2 for too few results and missing tables, 0 otherwise."""
    parser = argparse.ArgumentParser("python -m benchmarks.few_accuracies", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--results", type=counts, default=RESULTS, help=f"trained networks, {PARTS} or more")
    add("--seeds", type=positive, default=5, help="draws (5)")
    add("--seed", type=natural, default=0, help="the first (0)")
    add("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args(arguments)
    try:
        seeds = range(options.seed, options.seed + options.seeds)
        rows = list(run(options.results, seeds))
    except FarmError as error:
        say(f"few_accuracies: {error}")
        return error.exit_code
    finish("few_accuracies", rows, summary(rows), options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
