"""Published figures of zero-cost proxies on CIFAR-10, from published tables of NAS-Bench-201.

    python -m benchmarks.naswot --seed 0 --json
    python -m benchmarks.naswot --scores nwot.jsonl --networks 4000

    spearman  of synflow, and of the vote of synflow, jacov and snip, with accuracy
    naswot    test accuracy of the best of N networks by nwot (Mellor et al., Neural Architecture
              Search without Training, ICML 2021, algorithm 1), over RUNS draws
    area      test accuracy of the best of so many networks by evolution that starts from nwot
              (algorithm 2), and by evolution alone (rea), over AREA_RUNS seeds of the farm's own
              strategies

Published proxies are of 724 networks. With `--scores FILE`, nwot is computed for `--networks`
random ones, a tenth of a second each on one core, and kept in FILE; N = 1000 and AREA need those.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks import published
from benchmarks.arguments import positive
from benchmarks.naswot_scores import Pool, scored
from benchmarks.report import finish, say
from farm.core.errors import FarmError
from farm.search.accuracy import VOTERS
from farm.spaces import space
from farm.spaces.base import GraphSpace
from predictors import FloatArray, metrics

DRAWN, RUNS = (10, 100, 1000), 2000

EVALUATED, AREA_RUNS = (75, 100, 200), 200

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


def drawn(score: FloatArray, accuracy: FloatArray, rng: np.random.Generator) -> dict[int, Row]:
    """`naswot` of each of DRAWN that there are networks for."""
    known = int(np.isfinite(score).sum())
    return {n: naswot(score, accuracy, n, rng) for n in DRAWN if n <= known}


def of_own_scores(path: Path, networks: int, seed: int) -> Row:
    """With nwot of random networks, which is computed where `path` has it not."""
    nb201 = space("nb201")
    # More of them are the same ones, and others.
    pool = nb201.sample(nb201.size, np.random.default_rng(0))[:networks]
    score = scored(pool, path)
    with np.load(published.folder() / "nb201.npz") as data:
        codes = [nb201.parse(str(text)).code for text in data["arch_str"]]
        accuracy = dict(zip(codes, data["acc"][:, 0].astype(float), strict=True))
    own = {network.code: score[network.code] for network in pool}
    values, known = np.array(list(own.values())), np.array([accuracy[code] for code in own])
    found = Pool(cast(GraphSpace, nb201), own, accuracy)
    ways = {way: {n: _best(found, way, n, seed) for n in EVALUATED} for way in ("area", "rea")}
    return {
        "networks": len(own),
        "spearman": metrics.spearman(values, known),
        "naswot": drawn(values, known, np.random.default_rng(seed)),
        **ways,
    }


def _best(pool: Pool, way: str, n: int, seed: int) -> Row:
    best = np.array([pool.best(way, n, seed + k) for k in range(AREA_RUNS)])
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
    return {"spearman": found, "naswot": drawn(nwot, test, rng)}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 2 where there are no tables, 0 otherwise."""
    parser = argparse.ArgumentParser("python -m benchmarks.naswot", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seed", type=int, default=0, help="of the draws (0)")
    parser.add_argument("--scores", type=Path, help="JSON lines: nwot that was and is computed")
    parser.add_argument("--networks", type=positive, default=4000, help="with --scores (4000)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args(arguments)
    try:
        found = run(options.seed)
        if options.scores:
            found["own"] = of_own_scores(options.scores, options.networks, options.seed)
    except FarmError as error:
        say(f"naswot: {error}")
        return error.exit_code
    rows = [
        {"nwot": nwot, "way": way, "networks": n, **own}
        for nwot, each in (("published", found), ("own", found.get("own", {})))
        for way in ("naswot", "area", "rea")
        for n, own in each.get(way, {}).items()
    ]
    finish("naswot", rows, found, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
