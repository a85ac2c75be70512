"""Which networks to measure next, so that what is chosen in the end is verified: those whose
uncertain latencies matter most for the choice.

Choosing by prediction alone picks what happens to be predicted too fast. Laube et al., What to
Expect of Hardware Metric Predictors in NAS, AutoML 2022, repair that by measuring what was chosen;
here what is measured is chosen for it, by its expected gain over scenarios that are drawn from the
posterior, one network after the other (Daulton, Balandat & Bakshy, Differentiable Expected
Hypervolume Improvement, NeurIPS 2020, with candidates in place of gradients). Of the first the
expectation is an integral over its own latency: what matters most may be rarer than any scenario.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from farm.search.goals import Goal
from predictors import FloatArray, IntArray

LOOKED_AT = 300
"""Candidates whose latencies are drawn jointly: those of the largest expected gain."""

SCENARIOS = 256
"""Draws of these; what is said at 95 % rests on the last dozen."""

TAIL = 8
"""Degrees of freedom of Student's t, which a network's latency is around its prediction: some are
far from what any model makes of networks like them, and a choice looks for just those. With three,
fronts on a noisy device are worse, as more is spent on what might be fast (`docs/search.md`)."""

NARROWER = 1.96 / 2.306
"""Its scale, in predicted deviations: intervals of 95 % stay what they are."""

_AT = np.array([-6.0, -4.0, -3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0])
_WEIGHT = np.gradient(_AT) * (1 + (_AT / NARROWER) ** 2 / TAIL) ** (-(TAIL + 1) / 2)
"""Latencies, in predicted deviations, that stand for all of the distribution, and what each counts
for: by these the candidates are found that are looked at, and the first that is measured."""


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
    if not len(rows):
        return Choice(rows, 0.0)
    drawn = problem.costs.of_logs(_heavier(belief, rows, seed))
    cost = known.cost[None]
    accuracy, own = problem.accuracy[known.rows], problem.accuracy[rows]
    missed = _missed(problem, cost, accuracy, drawn, own)
    picks = [0]
    while len(picks) < min(n, len(rows)):
        known_too = _with(cost, drawn[:, picks])
        reached = np.append(accuracy, own[picks])
        gain = problem.goal.gains(known_too, reached, drawn, own).mean(0)
        gain[picks] = 0.0
        if gain.max() <= 0:
            break
        picks.append(int(np.argmax(gain)))
    return Choice(rows[picks[:n]], missed)


def _heavier(belief: Belief, rows: IntArray, seed: int) -> FloatArray:
    """(D, SCENARIOS, M) log-seconds: draws whose deviations are Student's, each network's apart."""
    drawn = belief.draws(rows, SCENARIOS, seed)
    chi_square = np.random.default_rng(seed).chisquare(TAIL, drawn.shape)
    mean = belief.mean[:, None, rows]
    return np.asarray(mean + (drawn - mean) * NARROWER * np.sqrt(TAIL / chi_square))


def _looked_at(problem: Problem, belief: Belief, known: Known, barred: IntArray) -> IntArray:
    """(M,), the candidates that are likeliest to matter, each by itself, largest expected gain
    first; on several devices, as if it were as much faster than predicted on all of them."""
    lowest = (belief.mean + _AT[0] * belief.std)[:, None]
    all_rows = np.arange(len(problem.accuracy))
    may = np.setdiff1d(np.flatnonzero(_gains(problem, known, lowest, all_rows)[0]), barred)
    at = belief.mean[:, None, may] + belief.std[:, None, may] * _AT[:, None]
    gain = _WEIGHT @ _gains(problem, known, at, may)
    best = np.argsort(-gain, kind="stable")[:LOOKED_AT]
    return np.asarray(may[best[gain[best] > 0]], np.intp)


def _gains(problem: Problem, known: Known, latency: FloatArray, rows: IntArray) -> FloatArray:
    """(S, M), the gains of candidates alone. latency: (D, S, M) log-seconds."""
    accuracy = problem.accuracy
    cost = problem.costs.of_logs(latency)
    return problem.goal.gains(known.cost[None], accuracy[known.rows], cost, accuracy[rows])


def _missed(
    problem: Problem,
    cost: FloatArray,
    accuracy: FloatArray,
    drawn: FloatArray,
    own: FloatArray,
) -> float:
    now = problem.goal.value(cost, accuracy)
    most = problem.goal.value(_with(cost, drawn), np.concatenate([accuracy, own]))
    share = np.where(most > 0, 1 - now / np.maximum(most, 1e-300), 0.0)
    return float(np.quantile(share, problem.confidence))


def _with(cost: FloatArray, drawn: FloatArray) -> FloatArray:
    """(S, n + M), what is known, (1, n), in each of S scenarios of others, (S, M)."""
    return np.concatenate([np.broadcast_to(cost, (len(drawn), cost.shape[1])), drawn], axis=1)
