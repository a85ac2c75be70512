"""Verified search against choosing by prediction alone, on published tables.

    python -m benchmarks.search --seed 0 --json
    python -m benchmarks.search --devices raspi4,gold_6226 --seeds 3 --budget 60 --plot search.png
    python -m benchmarks.search --devices raspi4+pixel3 --goals limit

Each device of NAS-Bench-201 in turn is new; all others are references, known by 900 networks each,
as in `benchmarks.loop`. Of A+B, both are new, a network is measured on both, and its latency is
that on the slower one; limits hold on both. Accuracies are the published ones on CIFAR-10, of all
15,625 networks. `farm.search` chooses what is measured, by the farm's own model.

    pareto    the hypervolume of the front among the networks that were measured, relative to that
              of the true front; beside it that of the front that the same model chooses by
              prediction alone, from as many networks as the farm measures to learn from
    strategy  the same of the best network that each strategy finds among so many evaluations, were
              all latencies known: at the median limit
    limit     the accuracy of the best network that holds a limit, less than the optimum's by so
              many points; limits are percentiles of the device's latencies

A hypervolume's corner is 1.1 times the latency of the most accurate network, and the median
accuracy of all (`upper`: half of all networks count) or the least one (`whole`). A long run can be
cut short: with `--rows FILE`, what is done stands there, and the same command does the rest.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import published
from benchmarks.contract import Case
from benchmarks.loop import Space
from benchmarks.report import finish, keep, kept, say
from benchmarks.search_report import of, plot, summary
from farm.core.errors import FarmError
from farm.core.values import Network
from farm.prediction.central import BLIND
from farm.prediction.decider import AT_ONCE
from farm.search.beliefs import Beliefs, OnDevice
from farm.search.goals import Best, Hard, Pareto
from farm.search.rounds import Terms, search
from farm.search.setting import pareto_corner
from farm.search.strategies import Looking
from farm.search.verify import Costs
from farm.search.ways import STRATEGIES
from farm.spaces import space
from predictors import FloatArray, IntArray, Observations
from predictors.acquisition import Pool, robust, variance
from predictors.models.mixture_gp import FittedMixtureGP

DEVICES = ("raspi4", "pixel3", "gold_6226", "titan_rtx_256", "fpga")
LIMITED = ("raspi4", "pixel3", "gold_6226")
PERCENTILES = (25, 50)
GOALS = ("limit", "pareto", "strategy")
AT = (10, 20, 30, 40, 60)
"""Measured networks at which fronts are judged."""

FLOORS = {"upper": 0.5, "whole": 0.0}
"""Quantiles of accuracy that fronts end at."""

LIMIT_BUDGET = 40

EVALUATIONS = (50, 100, 300, 1000)
"""Networks that strategies look at."""


@dataclass
class Table:
    """Devices of a table: a `farm.search.rounds.Laboratory` that looks up what it measures.

    latency_s: (D, N).
    """

    case: Case
    latency_s: FloatArray
    seed: int
    rows: list[int] = field(default_factory=list)

    def measured(self) -> tuple[IntArray, FloatArray]:
        rows = np.array(self.rows, np.intp)
        return rows, self.latency_s[:, rows]

    def asked(self) -> IntArray:
        return np.array(self.rows, np.intp)

    def fitted(self, latency_s: FloatArray, rows: IntArray) -> FittedMixtureGP:
        """To one of the devices, (N,)."""
        features = self.case.mixture.features[rows]
        return self.case.mixture.fit(Observations.of_one("new", features, latency_s[rows]))

    def belief(self) -> Beliefs:
        rows, features = np.array(self.rows, np.intp), self.case.mixture.features

        def on(latency_s: FloatArray) -> OnDevice:
            fitted = self.fitted(latency_s, rows)
            return lambda some, joint: fitted.posterior(features[some], "new", joint)

        return Beliefs([on(latency_s) for latency_s in self.latency_s], len(features))

    def telling(self, n: int) -> IntArray:
        return variance(self._pool, self.rows, n, prior=self.case.mixture)

    def measure(self, rows: IntArray) -> None:
        self.rows += [int(row) for row in rows]

    @property
    def _pool(self) -> Pool:
        return Pool(self.case.mixture.features, self.seed)

    def to_learn(self, n: int) -> IntArray:
        """(n,), as a campaign without a search would choose them on the first device; of a smaller
        n, the first."""
        pool = replace(self._pool, barred=self._pool.order[AT_ONCE:])
        rows = variance(pool, [], BLIND, prior=self.case.mixture)
        while len(rows) < n:
            belief = self.fitted(self.latency_s[0], rows).belief("new")
            known = replace(pool, measured=rows)
            rows = np.concatenate([rows, robust(known, [], min(5, n - len(rows)), prior=belief)])
        return rows


@dataclass(frozen=True, eq=False)
class Devices:
    """One or several. accuracy: (N,) per cent; latency_s: (D, N)."""

    name: str
    case: Case
    latency_s: FloatArray
    accuracy: FloatArray
    known: dict[bytes, FloatArray] = field(default_factory=dict)
    learnt: dict[int, IntArray] = field(default_factory=dict)

    def pareto(self, seed: int, budget: int, parts: Sequence[str]) -> Iterator[dict[str, Any]]:
        """A row for each of some FLOORS, and of AT."""
        learnt = self._learnt(seed, budget)
        for part in parts:
            floor = float(np.quantile(self.accuracy, FLOORS[part]))
            table, start = Table(self.case, self.latency_s, seed), time.perf_counter()
            goal_of = partial(self._front, floor=floor)
            # Confident beyond reach: it goes on until the budget is spent.
            terms = Terms(budget, confidence=1.0, seed=seed)
            found = search(table, self.accuracy, self._slowest, goal_of, terms)
            took_s = time.perf_counter() - start
            for n in [n for n in AT if n <= budget]:
                measured, alone = found.asked[:n], self._alone(learnt[:n], floor)
                yield {
                    "goal": "pareto",
                    "part": part,
                    "device": self.name,
                    "seed": seed,
                    "measured": n,
                    "asked": len(measured),
                    "verified": self._share(measured, floor),
                    "predicted": self._share(alone, floor),
                    "predicted_networks": len(alone),
                    "took_s": took_s,
                }

    def limit(self, seed: int, percentile: int, confidence: float) -> dict[str, Any]:
        """Of the best network that holds a limit."""
        limit_s = np.percentile(self.latency_s, percentile, axis=1)
        goal = Best(Hard(), float(self.accuracy.min()))
        table, accuracy = Table(self.case, self.latency_s, seed), self.accuracy
        costs, budget = Costs(limit_s), LIMIT_BUDGET
        found = search(table, accuracy, costs, lambda _: goal, Terms(budget, confidence, seed))
        over = np.any(self.latency_s > limit_s[:, None], axis=0)
        best = accuracy[~over].max()
        predicted = costs.of_logs(self._predicted(self._learnt(seed, budget)))
        (alone,) = goal.chosen(predicted, accuracy)
        return {
            "goal": "limit",
            "device": self.name,
            "seed": seed,
            "measured": len(found.asked),
            "percentile": percentile,
            "limit_ms": (1e3 * limit_s).tolist(),
            "lost": float(best - accuracy[found.chosen].max(initial=accuracy.min())),
            "over_limit": bool(over[found.chosen].any()),
            "predicted_lost": float(best - accuracy[alone]),
            "predicted_over_limit": bool(over[alone]),
        }

    def _learnt(self, seed: int, n: int) -> IntArray:
        """(n,), networks that a campaign would learn from, in order."""
        if len(self.learnt.get(seed, ())) < n:
            self.learnt[seed] = Table(self.case, self.latency_s, seed).to_learn(n)
        return self.learnt[seed][:n]

    def _front(self, cost: FloatArray, floor: float) -> Pareto:
        return Pareto(pareto_corner(cost, self.accuracy, floor))

    def _alone(self, rows: IntArray, floor: float) -> IntArray:
        """The front by prediction alone, from the networks that were measured."""
        cost = self._slowest.of_logs(self._predicted(rows))
        return self._front(cost, floor).chosen(cost, self.accuracy)

    def _predicted(self, rows: IntArray) -> FloatArray:
        """(D, N) log-seconds, from some networks, which are as they were measured."""
        key = rows.tobytes()
        if key not in self.known:
            table = Table(self.case, self.latency_s, 0)
            table.measure(rows)
            self.known[key] = table.belief().mean
            self.known[key][:, rows] = np.log(self.latency_s[:, rows])
        return self.known[key]

    def _share(self, rows: IntArray, floor: float) -> float:
        """The hypervolume of some networks, relative to that of all."""
        cost = self.latency_s.max(0)
        goal = self._front(cost, floor)
        some = goal.value(cost[rows][None], self.accuracy[rows])
        return float(some[0] / goal.value(cost[None], self.accuracy)[0])

    @property
    def _slowest(self) -> Costs:
        return Costs(np.ones(len(self.latency_s)))


def strategies(device: Devices, seed: int) -> Iterator[dict[str, Any]]:
    """How good the best network is that each strategy finds, by how many it looks at."""
    nb201: Any = space("nb201")
    texts = device.case.table.texts or ()
    row = {nb201.parse(text): number for number, text in enumerate(texts)}
    costs = (device.latency_s / np.median(device.latency_s, axis=1, keepdims=True)).max(0)
    best = device.accuracy[costs <= 1].max()

    def cost(networks: Sequence[Network]) -> FloatArray:
        return np.array([costs[row[one]] for one in networks])

    def accuracy(networks: Sequence[Network]) -> FloatArray:
        return np.array([device.accuracy[row[one]] for one in networks])

    def parameters(networks: Sequence[Network]) -> FloatArray:
        return nb201.features(networks)[:, nb201.feature_names.index("log_parameters")]

    looking = Looking(nb201, cost, accuracy, Best(Hard(), 0.0), parameters)
    for name in STRATEGIES:
        if name == "exhaustive":
            continue
        found = STRATEGIES[name](looking, max(EVALUATIONS), np.random.default_rng(seed))
        for n in EVALUATIONS:
            own = accuracy(found[:n])[cost(found[:n]) <= 1]
            lost = float(best - own.max(initial=0.0))
            told = {"goal": "strategy", "device": device.name, "seed": seed, "measured": n}
            yield {**told, "strategy": name, "lost": lost}


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of all seeds and devices; those of a seed and device at once. Raises UnknownName."""
    done = kept(options.rows)
    table = Space.of("nb201")
    with np.load(published.folder() / "nb201.npz") as data:
        accuracy = data["acc"][:, 0].astype(float)
    devices = []
    for name in options.devices:
        each = name.split("+")
        latency_s = np.stack([table.table.column(one) for one in each])
        devices.append(Devices(name, table.without(*each), latency_s, accuracy))
    for seed in range(options.seed, options.seed + options.seeds):
        for device in devices:
            for goal in options.goals:
                if not (found := of(done, device=device.name, seed=seed, goal=goal)):
                    start = time.perf_counter()
                    found = list(_judged(device, seed, goal, options))
                    keep(options.rows, *found)
                    took_s = time.perf_counter() - start
                    say(f"{device.name}, seed {seed}, {goal}: {took_s:.0f} s")
                yield from found


def _judged(
    device: Devices, seed: int, goal: str, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    if goal == "strategy":
        yield from strategies(device, seed)
    elif goal == "pareto":
        yield from device.pareto(seed, options.budget, options.parts)
    elif set(device.name.split("+")) <= set(LIMITED):
        for percentile in PERCENTILES:
            yield device.limit(seed, percentile, options.confidence)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 2 for a device that is not known, 0 otherwise."""
    options = _parser().parse_args(arguments)
    try:
        found = list(run(options))
    except FarmError as error:
        say(f"search: {error}")
        return error.exit_code
    if options.plot:
        plot(found, options.plot)
    finish("search", found, summary(found), options.json)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.search", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--devices", type=lambda text: text.split(","), default=DEVICES, help="new devices, A,B+C")
    add("--seeds", type=int, default=10, help="searches on each device (10)")
    add("--seed", type=int, default=0, help="the first seed (0)")
    add("--budget", type=int, default=60, help="networks that are measured for a front (60)")
    add("--parts", nargs="+", choices=FLOORS, default=list(FLOORS), help="of a front (both)")
    add("--goals", nargs="+", choices=GOALS, default=GOALS[:2], help="(limit pareto)")
    add(
        "--confidence",
        type=float,
        default=1.0,
        help="at which limits end; the command's is .95 (1)",
    )
    add("--rows", type=Path, help="JSON lines: what is done, and what is added to it")
    add("--plot", type=Path, help="write what is missed against measured networks as PNG")
    add("--json", action="store_true", help="one JSON object on stdout")
    return parser


if __name__ == "__main__":
    sys.exit(main())
