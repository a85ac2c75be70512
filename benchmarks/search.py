"""Verified search against choosing by prediction alone, on published tables.

    python -m benchmarks.search --seed 0 --json
    python -m benchmarks.search --devices raspi4,gold_6226 --seeds 3 --budget 60 --plot search.png

Each device of NAS-Bench-201 in turn is new; all others are references, known by 900 networks each,
as in `benchmarks.loop`. Accuracies are the published ones on CIFAR-10, of all 15,625 networks.
`farm.search` chooses what is measured, by the farm's own model.

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
from farm.core.errors import FarmError
from farm.core.values import Network
from farm.prediction.central import BLIND
from farm.prediction.decider import AT_ONCE
from farm.search.beliefs import Beliefs
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
    """A device of a table: a `farm.search.rounds.Laboratory` that looks up what it measures."""

    case: Case
    latency_s: FloatArray
    seed: int
    rows: list[int] = field(default_factory=list)

    def measured(self) -> tuple[IntArray, FloatArray]:
        rows = np.array(self.rows, np.intp)
        return rows, self.latency_s[rows][None]

    def asked(self) -> IntArray:
        return np.array(self.rows, np.intp)

    def fitted(self, rows: IntArray) -> FittedMixtureGP:
        features = self.case.mixture.features[rows]
        return self.case.mixture.fit(Observations.of_one("new", features, self.latency_s[rows]))

    def belief(self) -> Beliefs:
        fitted, features = self.fitted(np.array(self.rows, np.intp)), self.case.mixture.features
        return Beliefs(
            [lambda rows, joint: fitted.posterior(features[rows], "new", joint)], len(features)
        )

    def telling(self, n: int) -> IntArray:
        return variance(self._pool, self.rows, n, prior=self.case.mixture)

    def measure(self, rows: IntArray) -> None:
        self.rows += [int(row) for row in rows]

    @property
    def _pool(self) -> Pool:
        return Pool(self.case.mixture.features, self.seed)

    def to_learn(self, n: int) -> IntArray:
        """(n,), as a campaign without a search would choose them; of a smaller n, the first."""
        pool = replace(self._pool, barred=self._pool.order[AT_ONCE:])
        rows = variance(pool, [], BLIND, prior=self.case.mixture)
        while len(rows) < n:
            belief = self.fitted(rows).belief("new")
            known = replace(pool, measured=rows)
            rows = np.concatenate([rows, robust(known, [], min(5, n - len(rows)), prior=belief)])
        return rows


@dataclass(frozen=True, eq=False)
class Device:
    """accuracy: (N,) per cent; latency_s: (N,)."""

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
            found = search(table, self.accuracy, Costs(np.ones(1)), goal_of, terms)
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
        limit_s = float(np.percentile(self.latency_s, percentile))
        goal = Best(Hard(), float(self.accuracy.min()))
        table, accuracy = Table(self.case, self.latency_s, seed), self.accuracy
        costs, budget = Costs(np.array([limit_s])), LIMIT_BUDGET
        found = search(table, accuracy, costs, lambda _: goal, Terms(budget, confidence, seed))
        best = accuracy[self.latency_s <= limit_s].max()
        predicted_s = self._predicted_s(self._learnt(seed, budget))
        (alone,) = goal.chosen(predicted_s / limit_s, accuracy)
        return {
            "goal": "limit",
            "device": self.name,
            "seed": seed,
            "measured": len(found.asked),
            "percentile": percentile,
            "limit_ms": 1e3 * limit_s,
            "lost": float(best - accuracy[found.chosen].max(initial=accuracy.min())),
            "over_limit": bool((self.latency_s[found.chosen] > limit_s).any()),
            "predicted_lost": float(best - accuracy[alone]),
            "predicted_over_limit": bool(self.latency_s[alone] > limit_s),
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
        cost = self._predicted_s(rows)
        return self._front(cost, floor).chosen(cost, self.accuracy)

    def _predicted_s(self, rows: IntArray) -> FloatArray:
        """(N,), from some networks, which are as they were measured."""
        key = rows.tobytes()
        if key not in self.known:
            table = Table(self.case, self.latency_s, 0)
            table.measure(rows)
            self.known[key] = np.exp(table.belief().mean[0])
            self.known[key][rows] = self.latency_s[rows]
        return self.known[key]

    def _share(self, rows: IntArray, floor: float) -> float:
        """The hypervolume of some networks, relative to that of all."""
        goal = self._front(self.latency_s, floor)
        some = goal.value(self.latency_s[rows][None], self.accuracy[rows])
        return float(some[0] / goal.value(self.latency_s[None], self.accuracy)[0])


def strategies(device: Device, seed: int) -> Iterator[dict[str, Any]]:
    """How good the best network is that each strategy finds, by how many it looks at."""
    nb201: Any = space("nb201")
    texts = device.case.table.texts or ()
    row = {nb201.parse(text): number for number, text in enumerate(texts)}
    limit_s = float(np.median(device.latency_s))
    best = device.accuracy[device.latency_s <= limit_s].max()

    def cost(networks: Sequence[Network]) -> FloatArray:
        return np.array([device.latency_s[row[one]] for one in networks]) / limit_s

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
    devices = [
        Device(name, table.without(name), table.table.column(name), accuracy)
        for name in options.devices
    ]
    for seed in range(options.seed, options.seed + options.seeds):
        for device in devices:
            for goal in options.goals:
                if not (found := _of(done, device=device.name, seed=seed, goal=goal)):
                    start = time.perf_counter()
                    found = list(_judged(device, seed, goal, options))
                    keep(options.rows, *found)
                    took_s = time.perf_counter() - start
                    say(f"{device.name}, seed {seed}, {goal}: {took_s:.0f} s")
                yield from found


def _judged(
    device: Device, seed: int, goal: str, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    if goal == "strategy":
        yield from strategies(device, seed)
    elif goal == "pareto":
        yield from device.pareto(seed, options.budget, options.parts)
    elif device.name in LIMITED:
        for percentile in PERCENTILES:
            yield device.limit(seed, percentile, options.confidence)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over seeds; of limits the worst seed, and how many choices were over the limit."""
    fronts = [row for row in rows if row["goal"] == "pareto"]
    most = max((row["measured"] for row in fronts), default=0)
    by = {part: {n: _of(fronts, part=part, measured=n) for n in AT if n <= most} for part in FLOORS}
    limits = [row for row in rows if row["goal"] == "limit"]
    each = sorted({(row["device"], row["percentile"]) for row in limits})
    last = by["upper"].get(most, [])
    return {
        "measured_networks": most,
        "hypervolume_verified": _medians(last, "verified"),
        "hypervolume_predicted": _medians(last, "predicted"),
        "by_measured": {
            part: {
                n: {name: _medians(own, name) for name in ("verified", "predicted")}
                for n, own in found.items()
            }
            for part, found in by.items()
        },
        "strategies": {
            name: {
                n: float(np.median([row["lost"] for row in found]))
                for n in EVALUATIONS
                if (found := _of(rows, goal="strategy", strategy=name, measured=n))
            }
            for name in STRATEGIES
        },
        "limit": {
            f"{device} {percentile}": _limited(_of(limits, device=device, percentile=percentile))
            for device, percentile in each
        },
    }


def _of(rows: Sequence[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def _medians(rows: Sequence[dict[str, Any]], name: str) -> dict[str, float]:
    devices = dict.fromkeys(row["device"] for row in rows)
    return {d: float(np.median([r[name] for r in _of(rows, device=d)])) for d in devices}


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

    fronts = [row for row in rows if row["goal"] == "pareto" and row["part"] == "upper"]
    devices = list(dict.fromkeys(row["device"] for row in fronts))
    figure = Figure(figsize=(3 * len(devices), 3.2), layout="constrained")
    for number, device in enumerate(devices, 1):
        axes = figure.add_subplot(1, len(devices), number, sharey=None)
        own = _of(fronts, device=device)
        at = sorted({row["measured"] for row in own})
        for name, marker in (("verified", "o-"), ("predicted", "s--")):
            missed = [100 * (1 - _medians(_of(own, measured=n), name)[device]) for n in at]
            axes.plot(at, np.maximum(missed, 0.01), marker, label=name)
        axes.set(yscale="log", ylim=(0.01, 20), title=device, xlabel="measured networks")
    figure.axes[0].set_ylabel("missed of the hypervolume (%)")
    figure.axes[0].legend()
    figure.savefig(path, dpi=110)


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
    add("--devices", type=lambda text: text.split(","), default=DEVICES, help="new devices, A,B")
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
