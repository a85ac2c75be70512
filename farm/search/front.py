"""Fronts of two objectives: what a network costs, the less the better, and its accuracy.

Every function takes S scenarios at once: draws of what costs may be. Accuracies are the same in
all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from predictors import FloatArray, IntArray


@dataclass(frozen=True)
class Corner:
    """The reference point of a hypervolume: what is not better than it in both counts nothing."""

    cost: float
    accuracy: float


def non_dominated(cost: FloatArray, accuracy: FloatArray) -> IntArray:
    """Rows of the networks that none beats, cheapest first; of equal ones the first.

    cost, accuracy: (N,). One beats another that is no better in either and worse in one of the two.
    """
    order = np.lexsort((-accuracy, cost))
    before = np.concatenate([[-np.inf], np.maximum.accumulate(accuracy[order])[:-1]])
    return np.asarray(order[accuracy[order] > before], np.intp)


def beaten_by(cost: FloatArray, accuracy: FloatArray) -> FloatArray:
    """(N,): how many of the networks beat each. cost, accuracy: (N,)."""
    cheap, good = cost[:, None], accuracy[:, None]
    no_worse = (cheap <= cost) & (good >= accuracy)
    return np.asarray((no_worse & ((cheap < cost) | (good > accuracy))).sum(0), float)


def hypervolume(cost: FloatArray, accuracy: FloatArray, corner: Corner) -> FloatArray:
    """(S,): the area that networks dominate before a corner. cost: (S, N); accuracy: (N,).

    Exact for two objectives: the area under a staircase (Zitzler & Thiele, Multiobjective
    Evolutionary Algorithms, IEEE Trans. Evol. Comp. 1999).
    """
    left, reached = _stairs(cost, accuracy, corner)
    width = np.diff(left, axis=1, append=corner.cost)
    return np.asarray((width * (reached - corner.accuracy)).sum(1))


def gains(
    known: FloatArray,
    known_accuracy: FloatArray,
    cost: FloatArray,
    accuracy: FloatArray,
    corner: Corner,
) -> FloatArray:
    """(S, M): by how much the hypervolume of known networks grows with each of M others alone.

    known: (S, n) or (1, n), known_accuracy: (n,); cost: (S, M), accuracy: (M,).
    """
    left, reached = _rising(*_stairs(known, known_accuracy, corner))
    none = np.full((len(left), 1), corner.cost)
    first = np.concatenate([left, none], axis=1)[:, :1]
    ends = np.concatenate([left[:, 1:], none], axis=1)
    # Before the first step nothing better than the corner is reached.
    total = np.maximum(first - cost, 0.0) * np.maximum(accuracy - corner.accuracy, 0.0)
    for step in range(left.shape[1]):
        start, end = left[:, step, None], ends[:, step, None]
        width = np.maximum(end - np.maximum(start, cost), 0.0)
        total += width * np.maximum(accuracy - reached[:, step, None], 0.0)
    return np.asarray(total)


def _rising(left: FloatArray, reached: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The same stairs without the steps that rise in no scenario."""
    before = np.concatenate([np.full((len(reached), 1), -np.inf), reached[:, :-1]], axis=1)
    rises = (reached > before).any(0)
    return left[:, rises], reached[:, rises]


def _stairs(
    cost: FloatArray, accuracy: FloatArray, corner: Corner
) -> tuple[FloatArray, FloatArray]:
    """(S, N) each: costs in order, none beyond the corner, and the accuracy reached by there."""
    order = np.argsort(cost, axis=1, kind="stable")
    left = np.minimum(np.take_along_axis(cost, order, 1), corner.cost)
    reached = np.maximum.accumulate(np.maximum(accuracy[order], corner.accuracy), axis=1)
    return left, reached
