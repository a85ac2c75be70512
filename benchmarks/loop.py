"""Device seconds that choosing saves: campaigns replayed over published tables.

    python -m benchmarks.loop --seed 0 --json
    python -m benchmarks.loop --spaces nb201 --devices raspi4,fpga --seeds 3 --multi-predict 0

Each device of a table in turn is new; all others are references, known by PRETRAIN networks each.
Networks are measured one after the other until the model ranks JUDGED others of the table at the
goal: Spearman .95, or 98 % of the device's ceiling where that is lower. The ceiling is what a
Gaussian process on structure reaches from as many networks of the device itself.

    loop           which networks, and how precisely, as the farm decides it
    loop_fine      which networks, as the farm decides it, as precisely as a device measures anyway
    random         at random, as precisely as a device measures anyway, with the same model
    random_coarse  at random, as precisely as the farm decides it
    multi_predict  as `random`, with Multi-Predict; on a few devices, as each takes a training

Ratios are of device seconds until the goal, the median over devices and seeds. A device that is
ranked at the goal before any sample says nothing about choosing: it is counted, and left out.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import idle, published
from benchmarks.arguments import words
from benchmarks.contract import Case, FewShot
from benchmarks.loop_report import CURVE, Campaign, Outlook, Point, plot, rows, summary
from benchmarks.published import Table
from benchmarks.report import finish, say
from farm.core.errors import FarmError, UnknownName
from farm.measurement.spec import MeasureSpec
from farm.prediction.central import BLIND
from farm.prediction.decider import ACQUISITION, LOOKED_AT
from farm.prediction.precision import Expense, most_telling
from predictors import FittedPredictor, FloatArray, IntArray, Observations, metrics
from predictors.acquisition import ACQUISITIONS, Pool, random, variance
from predictors.encodings.analytic import AnalyticColumns
from predictors.encodings.hwl import HardwareLatencies, References
from predictors.encodings.normalisation import TrainingRows
from predictors.forecast import expected_spearman
from predictors.models.mixture_gp import MixtureGP

SPACES = ("nb201", "fbnet")

PRETRAIN = 900
"""Networks that are known of each reference, as in the papers' tasks of NAS-Bench-201."""

GOAL, SHARE_OF_CEILING = 0.95, 0.98

JUDGED = 5000
"""Networks of a table that predictions are judged by, drawn once; those that are samples are left
out. The error of a rank correlation of .95 among as many is .0015."""

MOST = 60
"""Samples after which a campaign ends without its goal: it is counted with what it spent."""

MULTI_PREDICT_SAMPLES = (2, 3, 4, 5, 7, 10, 15, 20, 30, 40, 60, 80, 120, 160)
"""Samples that Multi-Predict is tuned on, and ends at."""

MULTI_PREDICT_SEEDS = 3

EXPENSE = Expense()
"""What sessions take, and how much they differ: an assumption, beside the noise in the tables."""

FORECAST_SEEDS = 2
FORECASTS = ((3, 2), (3, 7), (5, 5), (5, 15), (10, 10))
"""In so many seeds `loop` and `random` go on to CURVE samples; forecasts of `loop` are made at so
many samples, for so many more."""

CANDIDATES = 500
"""Networks that a forecast is made from."""


@dataclass(frozen=True)
class Way:
    """Whether a campaign chooses networks, and how precisely they are measured."""

    chooses: bool
    coarser: bool


WAYS = {
    "loop": Way(chooses=True, coarser=True),
    "loop_fine": Way(chooses=True, coarser=False),
    "random": Way(chooses=False, coarser=False),
    "random_coarse": Way(chooses=False, coarser=True),
}


@dataclass(frozen=True, eq=False)
class Space:
    """A table with what is known of all its devices. judged: (J,) networks."""

    table: Table
    hwl: HardwareLatencies
    analytic: AnalyticColumns
    rows: TrainingRows
    judged: IntArray

    @classmethod
    def of(cls, name: str) -> Space:
        """Learns every device of the table as a reference: each column by itself, so that leaving
        one out later is as if it had never been there."""
        table = published.load(published.folder() / f"{name}.npz")
        order = np.random.default_rng(0).permutation(len(table.latency_s))
        rows = TrainingRows.of(order[:PRETRAIN])
        references = References(table.latency_s, table.devices, rows)
        hwl = HardwareLatencies.of(references, table.structure)
        analytic = AnalyticColumns.of(table.costs, table.cost_names, rows)
        return cls(table, hwl, analytic, rows, order[-JUDGED:])

    def without(self, *devices: str) -> Case:
        """All other devices as references."""
        table, hwl = self.table, self.hwl
        kept = np.array([other not in devices for other in table.devices])
        others = tuple(other for other in table.devices if other not in devices)
        left = HardwareLatencies(
            others,
            hwl.values[:, kept],
            hwl.mask[:, kept],
            hwl.latency_s[:, kept],
            hwl.spread[kept],
        )
        analytic = np.column_stack([self.analytic.values, table.parts])
        mixture = MixtureGP.over(
            left.values, analytic, table.structure, self.rows, left.spread, self.analytic.spread
        )
        references = References(table.latency_s[:, kept], others, self.rows)
        return Case(table, references, left, self.analytic, mixture)

    def goal(self, device: str) -> float:
        """GOAL, or less where the device's ceiling is low."""
        rest = np.setdiff1d(self.judged, self.rows.indices)
        structure = self.hwl.values[rest, self.table.devices.index(device)]
        ceiling = metrics.spearman(structure, self.table.column(device)[rest]) or 0.0
        return min(GOAL, SHARE_OF_CEILING * ceiling)


@dataclass(frozen=True, eq=False)
class Target:
    """The new device of a case. latency_s: (N,). acquisition, blind: of the loop."""

    case: Case
    name: str
    latency_s: FloatArray
    judged: IntArray
    goal: float
    acquisition: str = ACQUISITION
    blind: int = BLIND

    def campaign(self, way: str, seed: int, onwards: bool) -> Campaign:
        """onwards: past the goal, to CURVE samples at least, with forecasts."""
        how, model = WAYS[way], self.case.mixture
        pool, rows = Pool(model.features, seed), np.empty(0, np.intp)
        noise = np.random.default_rng([seed, 2]).standard_normal(len(self.latency_s))
        some = np.random.default_rng(seed).permutation(len(pool))[:LOOKED_AT]
        seen = Observations.of_one(self.name, model.features[rows], rows * 1.0, rows * 1.0)
        device_s = 0.0
        curve: list[Point] = []
        forecasts: dict[tuple[int, int], tuple[float, float]] = {}
        while True:
            fitted = model.fit(seen)
            curve.append(Point(len(rows), device_s, self._judge(fitted, rows)))
            if onwards and way == "loop":
                forecasts |= self._forecasts(fitted, rows, seed)
            if self._over(curve, onwards):
                break
            spec = self._precision(fitted, len(rows), some) if how.coarser else MeasureSpec()
            (row,) = self._next(fitted, pool, rows, spec) if how.chooses else random(pool, rows, 1)
            rows = np.append(rows, row)
            noise_std = EXPENSE.noise_std(spec)
            measured_s = self.latency_s[row] * np.exp(noise_std * noise[row])
            seen = Observations.of_one(
                self.name,
                model.features[rows],
                np.append(seen.latency_s, measured_s),
                np.append(seen.own_noise_std, noise_std),
            )
            device_s += float(EXPENSE.price_s(spec, self.latency_s[[row]])[0])
        ended = tuple(
            Outlook(n, more, low, high, curve[n + more].spearman)
            for (n, more), (low, high) in forecasts.items()
            if n + more < len(curve)
        )
        space = self.case.table.name
        return Campaign(space, self.name, way, seed, self.goal, tuple(curve), ended, onwards)

    def _judge(self, fitted: FittedPredictor, rows: IntArray) -> float:
        rest = np.setdiff1d(self.judged, rows)
        posterior = fitted.posterior(self.case.mixture.features[rest], self.name)
        return metrics.spearman(posterior.mean, self.latency_s[rest]) or 0.0

    def _over(self, curve: Sequence[Point], onwards: bool) -> bool:
        samples, reached = curve[-1].samples, any(p.spearman >= self.goal for p in curve)
        return samples >= MOST or (reached and not (onwards and samples < CURVE))

    def _precision(self, fitted: Any, samples: int, some: IntArray) -> MeasureSpec:
        """How the next sample is measured, as `farm.prediction.decider` decides it."""
        belief = self.case.mixture if samples < self.blind else fitted.belief(self.name)
        features = self.case.mixture.features[some]
        latency_s = fitted.posterior(features, self.name).latency_s
        return most_telling(MeasureSpec(), EXPENSE, belief, features, latency_s)

    def _next(self, fitted: Any, pool: Pool, rows: IntArray, spec: MeasureSpec) -> IntArray:
        """(1,): the next sample, as `farm.prediction.decider` chooses it."""
        if len(rows) < self.blind:
            return variance(pool, rows, 1, prior=self.case.mixture)
        posterior = fitted.posterior(pool.features, self.name)
        choose, known = ACQUISITIONS[self.acquisition], replace(pool, measured=rows)
        cost_s = EXPENSE.price_s(spec, posterior.latency_s)
        return choose(known, (), 1, prior=fitted.belief(self.name), cost_s=cost_s)

    def _forecasts(
        self, fitted: FittedPredictor, rows: IntArray, seed: int
    ) -> dict[tuple[int, int], tuple[float, float]]:
        """By (samples, more): low and high of the forecasts that are due."""
        due = [(n, more) for n, more in FORECASTS if n == len(rows)]
        features = self.case.mixture.features
        order = np.random.default_rng([seed, 3]).permutation(len(features))
        some = features[order[~np.isin(order, rows)][:CANDIDATES]]
        found = {at: expected_spearman(fitted, some, self.name, at[1], seed) for at in due}
        return {at: (forecast.low, forecast.high) for at, forecast in found.items()}

    def multi_predict(self, few_shot: FewShot, seed: int) -> Campaign:
        """Multi-Predict with samples at random, which are measured as those of `random` are."""
        order = np.random.default_rng(seed).permutation(len(self.latency_s))
        curve = [Point(0, 0.0, 0.0)]
        for n in MULTI_PREDICT_SAMPLES:
            rows = order[:n]
            rest = np.setdiff1d(self.judged, rows)
            score = few_shot(rows, self.latency_s[rows], seed).score[rest]
            rho = metrics.spearman(score, self.latency_s[rest]) or 0.0
            device_s = float(EXPENSE.price_s(MeasureSpec(), self.latency_s[rows]).sum())
            curve.append(Point(n, device_s, rho))
            if rho >= self.goal:
                break
        space = self.case.table.name
        return Campaign(space, self.name, "multi_predict", seed, self.goal, tuple(curve))


def run(options: argparse.Namespace) -> Iterator[Campaign]:
    """Every campaign that is asked for. Raises UnknownName for a space or a device."""
    for name in options.spaces:
        if name not in SPACES:
            raise UnknownName("space", name, SPACES)
        space = Space.of(name)
        devices = options.devices or space.table.devices
        every = max(-(-len(devices) // options.multi_predict), 1) if options.multi_predict else 0
        for number, device in enumerate(devices):
            start = time.perf_counter()
            latency_s = space.table.column(device)
            case, goal = space.without(device), space.goal(device)
            choose = (options.acquisition, options.blind)
            target = Target(case, device, latency_s, space.judged, goal, *choose)
            for seed in range(options.seed, options.seed + options.seeds):
                onwards = seed < options.seed + FORECAST_SEEDS
                for way in WAYS:
                    yield target.campaign(way, seed, onwards and way in ("loop", "random"))
            if every and number % every == 0:
                yield from _multi_predict(target, options)
            say(f"{name} {device}: {time.perf_counter() - start:.0f} s")


def _multi_predict(target: Target, options: argparse.Namespace) -> Iterator[Campaign]:
    """Trained once, with fewer seeds."""
    from benchmarks import neural

    few_shot = neural.multi_predict(target.case, "hwlvec")
    for seed in range(options.seed, options.seed + min(options.seeds, MULTI_PREDICT_SEEDS)):
        yield target.multi_predict(few_shot, seed)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 2 for a space or a device that is not known, 0 otherwise."""
    options = _parser().parse_args(arguments)
    try:
        campaigns = list(run(options))
    except FarmError as error:
        say(f"loop: {error}")
        return error.exit_code
    # Of a real campaign over so many replay devices, beside the replayed ones.
    waiting = idle.run(options.idle, idle.BUDGET, options.seed) if options.idle else None
    found = {**summary(campaigns), "idle_fraction": waiting and waiting.idle_fraction}
    if options.plot:
        plot(campaigns, options.plot)
    finish("loop", rows(campaigns), found, options.json)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.loop", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--spaces", type=words, default=SPACES, help=f"of {', '.join(SPACES)} (both)")
    add("--devices", type=words, help="new devices, A,B (all of the table)")
    add("--seeds", type=int, default=10, help="campaigns of each way on each device (10)")
    add("--seed", type=int, default=0, help="the first seed (0)")
    add("--acquisition", choices=ACQUISITIONS, default=ACQUISITION, help="of the loop")
    add("--blind", type=int, default=BLIND, help=f"samples chosen before any is measured ({BLIND})")
    add(
        "--multi-predict",
        type=int,
        default=2,
        help=f"devices of each table that Multi-Predict is run on, {MULTI_PREDICT_SEEDS} seeds (2)",
    )
    add("--idle", type=int, default=30, help="devices of `benchmarks.idle`; 0: none of it (30)")
    add("--plot", type=Path, help="write learning curves as PNG")
    add("--json", action="store_true", help="one JSON object on stdout")
    return parser


if __name__ == "__main__":
    sys.exit(main())
