"""Which networks to measure next, so that what is chosen in the end is verified: those whose
uncertain latencies matter most for the choice.

Choosing by prediction alone picks what happens to be predicted too fast. Laube et al., What to
Expect of Hardware Metric Predictors in NAS, AutoML 2022, repair that by measuring what was chosen;
here what is measured is chosen for it, by its expected gain over scenarios that are drawn from the
posterior, one network after the other (Daulton, Balandat & Bakshy, Differentiable Expected
Hypervolume Improvement, NeurIPS 2020, with candidates in place of gradients).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

import numpy as np

from farm.search.goals import Goal
from predictors import FloatArray, IntArray

LOOKED_AT = 300
"""Candidates whose latencies are drawn jointly: those of the largest expected gain."""

SCENARIOS = 256
"""Draws of these; what is said at 95 % rests on the last dozen."""

_QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / 16) for i in range(16)])
"""Of each candidate's own latency, in standard deviations, by which those are found."""


class Belief(Protocol):
    """What is believed of N candidates on D devices. A latency is what measuring would show."""

    @property
    def mean(self) -> FloatArray:
        """(D, N), log-seconds."""
        ...

    @property
    def std(self) -> FloatArray:
        """(D, N), log-seconds."""
        ...

    def draws(self, rows: IntArray, n: int, seed: int) -> FloatArray:
        """(D, n, M) log-seconds, joint over some candidates."""
        ...


@dataclass(frozen=True, eq=False)
class Costs:
    """From latencies to costs. limit_s: (D,); ones where there is no limit."""

    limit_s: FloatArray

    def of_logs(self, latency: FloatArray) -> FloatArray:
        """(D, ...) log-seconds -> (...)."""
        limit = np.log(self.limit_s).reshape(-1, *[1] * (latency.ndim - 1))
        return np.asarray(np.exp((latency - limit).max(0)))


@dataclass(frozen=True, eq=False)
class Known:
    """What was measured. rows: (n,) of the candidates, cost: (n,)."""

    rows: IntArray
    cost: FloatArray


@dataclass(frozen=True, eq=False)
class Choice:
    """rows: what to measure next, most worth first. missed: the share of the goal's value that
    those measured so far may lack, at the confidence that was asked for."""

    rows: IntArray
    missed: float


@dataclass(frozen=True, eq=False)
class Problem:
    """What is decided between. accuracy: (N,), of the candidates."""

    accuracy: FloatArray
    costs: Costs
    goal: Goal
    confidence: float


def choose(
    problem: Problem, belief: Belief, known: Known, barred: IntArray, n: int, seed: int
) -> Choice:
    """n candidates, or fewer where no other can add anything. barred: rows that are not chosen,
    the measured ones among them."""
    rows = _looked_at(problem, belief, known, barred)
    drawn = problem.costs.of_logs(belief.draws(rows, SCENARIOS, seed))
    cost = np.repeat(known.cost[None], len(drawn), axis=0)
    accuracy, own = problem.accuracy[known.rows], problem.accuracy[rows]
    missed = _missed(problem, cost, accuracy, drawn, own)
    picks: list[int] = []
    for _ in range(min(n, len(rows))):
        gain = problem.goal.gains(cost, accuracy, drawn, own).mean(0)
        gain[picks] = 0.0
        pick = int(np.argmax(gain))
        if gain[pick] <= 0:
            break
        picks.append(pick)
        cost = np.concatenate([cost, drawn[:, [pick]]], axis=1)
        accuracy = np.append(accuracy, own[pick])
    return Choice(rows[picks], missed)


def _looked_at(problem: Problem, belief: Belief, known: Known, barred: IntArray) -> IntArray:
    """(M,), the candidates that are likeliest to matter, each by itself."""
    lowest = (belief.mean + _QUANTILES[0] * belief.std)[:, None]
    may = np.setdiff1d(np.flatnonzero(_gains(problem, known, lowest)), barred)
    # In an order of its own on each device.
    rng = np.random.default_rng(0)
    z = np.stack([rng.permutation(_QUANTILES) for _ in belief.mean])[:, :, None]
    quantiles = belief.mean[:, None, may] + belief.std[:, None, may] * z
    gain = _gains(problem, known, quantiles, may)
    best = np.argsort(-gain, kind="stable")[:LOOKED_AT]
    return np.asarray(may[best[gain[best] > 0]], np.intp)


def _gains(
    problem: Problem, known: Known, latency: FloatArray, rows: IntArray | None = None
) -> FloatArray:
    """(M,), the mean gain of candidates. latency: (D, S, M) log-seconds; rows: all without."""
    accuracy = problem.accuracy if rows is None else problem.accuracy[rows]
    cost = problem.costs.of_logs(latency)
    gain = problem.goal.gains(known.cost[None], problem.accuracy[known.rows], cost, accuracy)
    return np.asarray(gain.mean(0))


def _missed(
    problem: Problem,
    cost: FloatArray,
    accuracy: FloatArray,
    drawn: FloatArray,
    own: FloatArray,
) -> float:
    now = problem.goal.value(cost, accuracy)
    both = np.concatenate([cost, drawn], axis=1)
    most = problem.goal.value(both, np.concatenate([accuracy, own]))
    share = np.where(most > 0, 1 - now / np.maximum(most, 1e-300), 0.0)
    return float(np.quantile(share, problem.confidence))
