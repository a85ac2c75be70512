"""The loop of a search: believe, choose, measure, until what was measured is enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from farm.search.goals import Goal
from farm.search.verify import Belief, Costs, Known, Problem, choose
from predictors import FloatArray, IntArray

FIRST = 3
"""Networks that are measured before any is chosen for the goal, by what they tell of all others:
from so many on a device's level is known."""

AT_ONCE = 1
"""Networks that are chosen at a time: each by what all before it showed. On the published tables of
two noisy devices, thirty networks find more of a front so than four at a time do."""


class Laboratory(Protocol):
    """Where candidates are measured, and what is believed of them."""

    def measured(self) -> tuple[IntArray, FloatArray]:
        """Rows (n,) of the candidates that were measured on all devices, and (D, n) seconds."""
        ...

    def asked(self) -> IntArray:
        """(m,), those that this search asked for, in order; some may have failed."""
        ...

    def belief(self) -> Belief:
        """From all that was measured so far."""
        ...

    def telling(self, n: int) -> IntArray:
        """(n,) candidates that tell most about the others, by what is known beforehand."""
        ...

    def measure(self, rows: IntArray) -> None:
        """Measure candidates on all devices; what fails is not among `measured`."""
        ...


@dataclass(frozen=True)
class Terms:
    """budget: networks to measure at most. confidence: at which a search is done before."""

    budget: int
    confidence: float = 0.95
    seed: int = 0
    first: int = FIRST
    at_once: int = AT_ONCE


@dataclass(frozen=True)
class Round:
    """measured: networks of this search that were, before the round. chosen: networks that the
    goal comes to by them. missed: see `Choice`; None before anything is chosen for the goal."""

    measured: int
    chosen: int
    missed: float | None


@dataclass(frozen=True, eq=False)
class Outcome:
    """rows, cost: (n,), all candidates that are measured. chosen: rows of the candidates.

    asked: (m,), those that this search measured, in order. predicted: what prediction alone would
    have chosen before the first of them was chosen for the goal; by_prediction: (N,), its costs.
    """

    known: Known
    goal: Goal
    chosen: IntArray
    asked: IntArray
    predicted: IntArray
    by_prediction: FloatArray
    belief: Belief
    rounds: tuple[Round, ...] = field(default=())
    stable: bool = False


def search(
    laboratory: Laboratory,
    accuracy: FloatArray,
    costs: Costs,
    goal_of: Callable[[FloatArray], Goal],
    terms: Terms,
    watch: Callable[[Round], None] = lambda _: None,
) -> Outcome:
    """Measure until the goal's value is certain enough, or the budget is spent.

    goal_of: from the believed costs (N,) of all candidates.
    """
    rounds: list[Round] = []
    first: tuple[IntArray, FloatArray] | None = None
    while True:
        known, asked = _known(laboratory, costs), laboratory.asked()
        left = min(terms.budget - len(asked), len(accuracy) - len(np.union1d(asked, known.rows)))
        short = terms.first - len(known.rows) - len(np.setdiff1d(asked, known.rows))
        if short > 0 and left > 0:
            rows = laboratory.telling(min(short, left))
            rounds.append(Round(len(asked), 0, None))
        else:
            belief = laboratory.belief()
            cost = _believed(belief, costs, known)
            goal = goal_of(cost)
            first = first or (goal.chosen(cost, accuracy), cost)
            problem = Problem(accuracy, costs, goal, terms.confidence)
            barred = np.union1d(asked, known.rows)
            n = min(terms.at_once, left)
            choice = choose(problem, belief, known, barred, max(n, 0), terms.seed + len(asked))
            chosen = known.rows[goal.chosen(known.cost, accuracy[known.rows])]
            rounds.append(Round(len(asked), len(chosen), choice.missed))
            stable = choice.missed <= goal.tolerance
            if stable or not len(choice.rows):
                watch(rounds[-1])
                return Outcome(
                    known, goal, chosen, asked, *first, belief, tuple(rounds), bool(stable)
                )
            rows = choice.rows
        watch(rounds[-1])
        laboratory.measure(rows)


def _known(laboratory: Laboratory, costs: Costs) -> Known:
    rows, latency_s = laboratory.measured()
    return Known(rows, costs.of_logs(np.log(latency_s)))


def _believed(belief: Belief, costs: Costs, known: Known) -> FloatArray:
    """(N,), measured where it was."""
    cost = costs.of_logs(belief.mean)
    cost[known.rows] = known.cost
    return cost


def predicted_first(outcome: Outcome) -> Known:
    """What prediction alone would have chosen, at the costs that it predicted."""
    return Known(outcome.predicted, outcome.by_prediction[outcome.predicted])
