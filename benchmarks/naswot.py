"""Published figures of zero-cost proxies on CIFAR-10, from published tables of NAS-Bench-201.

    python -m benchmarks.naswot --seed 0 --json

    spearman  of synflow, and of the vote of synflow, jacov and snip, with accuracy
    naswot    test accuracy of the best of N networks by nwot (Mellor et al., Neural Architecture
              Search without Training, ICML 2021, algorithm 1), over RUNS draws

The proxies are of 724 networks, so N = 1000 cannot be drawn, nor can AREA walk to neighbours.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import published
from benchmarks.fewshot_run import say
from benchmarks.report import finish
from farm.core.errors import FarmError
from farm.search.accuracy import VOTERS
from predictors import FloatArray, metrics

DRAWN, RUNS = (10, 100), 2000

Row = dict[str, Any]


def votes(scores: FloatArray) -> FloatArray:
    """(N,): how many others a network beats by most of the proxies. scores: (V, N)."""
    beaten = scores[:, :, None] > scores[:, None]
    return np.asarray((beaten.sum(0) > len(scores) / 2).sum(1), float)


def ranked(names: Sequence[str], scores: FloatArray, accuracy: FloatArray) -> Row:
    """scores: (N, P). accuracy: (N,)."""
    columns = {name: scores[:, list(names).index(name)] for name in VOTERS}
    voted = votes(np.stack(list(columns.values())))
    rho = {"synflow": columns["synflow"], "vote": voted}
    return {name: metrics.spearman(own, accuracy) for name, own in rho.items()}


def naswot(score: FloatArray, accuracy: FloatArray, n: int, rng: np.random.Generator) -> Row:
    """Mean and deviation over RUNS draws of n networks."""
    known = np.flatnonzero(np.isfinite(score))
    draws = [rng.choice(known, n, replace=False) for _ in range(RUNS)]
    best = np.array([accuracy[rows[np.argmax(score[rows])]] for rows in draws])
    return {"mean": float(best.mean()), "std": float(best.std())}


def run(seed: int) -> Row:
    """The summary. Raises UsageError where there are no tables."""
    folder, rng = published.folder(), np.random.default_rng(seed)
    with np.load(folder / "nb201.npz") as data:
        number = {str(text): row for row, text in enumerate(data["arch_str"])}
        test = data["acc"][:, 0].astype(float)
    with np.load(folder / "zcp_nb201_724.npz") as data:
        names, scores = list(map(str, data["proxy_names"])), data["zcp"].astype(float)
        test = test[[number[str(text)] for text in data["arch_str"]]]
    found = {"test": ranked(names, scores, test)}
    with np.load(folder / "accuracy_nb201.npz") as data:
        own = list(map(str, data["zcp_names"]))
        found["validation"] = ranked(
            own, data["zcp"][0].astype(float), data["accuracy"][0].astype(float)
        )
    nwot = scores[:, names.index("nwot")]
    return {"spearman": found, "naswot": {n: naswot(nwot, test, n, rng) for n in DRAWN}}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 2 where there are no tables, 0 otherwise."""
    parser = argparse.ArgumentParser("python -m benchmarks.naswot", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seed", type=int, default=0, help="of the draws (0)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args(arguments)
    try:
        found = run(options.seed)
    except FarmError as error:
        say(f"naswot: {error}")
        return error.exit_code
    rows = [{"networks": n, **own} for n, own in found["naswot"].items()]
    finish("naswot", rows, found, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
