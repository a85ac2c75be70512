"""Which networks to measure next: pure functions of a prior covariance and a seed.

For a Gaussian process the posterior variance depends on where was measured and not on what came
out. A whole batch can so be chosen before any of it is measured, and the same seed chooses the
same networks in every run, in whatever batches it is asked.

    choose = ACQUISITIONS["variance"]
    rows = choose(features, taken, n=5, seed=0, prior=gaussian_process)
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from predictors import FloatArray, IntArray

POOL = 500
"""Candidates looked at, drawn by the seed. The most uncertain networks are the odd ones on a
space's rim, where one spike misleads most: on published devices that spike, 2,000 cost .04 of
rank correlation at 5 samples; on quiet ones they gained .02 at most."""

POOL_GROWS_EVERY = 100
"""Choices after which another POOL of candidates is looked at."""


class Prior(Protocol):
    """What is believed of log-latency before measuring. Units cancel: any common scale will do."""

    @property
    def noise_variance(self) -> float:
        """Variance of one measurement."""
        ...

    def covariance(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """Features (A, F), (B, F) -> (A, B)."""
        ...

    def variance(self, a: FloatArray) -> FloatArray:
        """Features (A, F) -> (A,), the diagonal of `covariance(a, a)`."""
        ...


class Acquisition(Protocol):
    """Chooses `n` rows of `candidates`, none of them in `taken` or `barred`, in order of worth.

    candidates: (N, F), all that could ever be chosen, always in the same order.
    taken: rows that were chosen before, whatever came of them.
    seed: equal arguments give equal rows, and two calls for n/2 give the rows of one for n.
    prior: what the model expects; only `variance` looks at it.
    cost_s: (N,), expected device seconds of each; None where all cost the same.
    barred: rows that may not be chosen and teach nothing, such as a held-out set.

    Raises ValueError if fewer than `n` rows are free.
    """

    def __call__(
        self,
        candidates: FloatArray,
        taken: ArrayLike,
        n: int,
        seed: int,
        *,
        prior: Prior,
        cost_s: FloatArray | None = None,
        barred: ArrayLike = (),
    ) -> IntArray:
        """(n,) row numbers."""
        ...


def random(
    candidates: FloatArray,
    taken: ArrayLike,
    n: int,
    seed: int,
    *,
    prior: Prior | None = None,
    cost_s: FloatArray | None = None,
    barred: ArrayLike = (),
) -> IntArray:
    """Rows in an order drawn by the seed: the baseline. `prior` and `cost_s` are not looked at."""
    del prior, cost_s
    order = _allowed(len(candidates), barred, seed)
    free = order[~np.isin(order, np.asarray(taken, np.intp))]
    _require(n, free, len(candidates))
    return free[:n]


def variance(
    candidates: FloatArray,
    taken: ArrayLike,
    n: int,
    seed: int,
    *,
    prior: Prior,
    cost_s: FloatArray | None = None,
    barred: ArrayLike = (),
) -> IntArray:
    """Greedily the row of largest posterior variance, given all rows before it.

    With `cost_s`, the largest variance for each device second. Choosing greedily is within
    1 - 1/e of the best batch for the information gained (Krause, Singh & Guestrin, Near-Optimal
    Sensor Placements in Gaussian Processes, JMLR 2008, section 4).
    """
    before = np.asarray(taken, np.intp)
    order = _allowed(len(candidates), barred, seed)
    _require(n, np.setdiff1d(order, before), len(candidates))
    opens = np.arange(len(order)) // POOL * POOL_GROWS_EVERY
    fresh = (opens < len(before) + n) & ~np.isin(order, before)
    rows = np.concatenate([before, order[fresh]])
    opens_at = np.concatenate([np.full(len(before), np.inf), opens[fresh]])
    price = np.ones(len(candidates)) if cost_s is None else _checked(cost_s, len(candidates))
    return rows[_greedy(prior, candidates[rows], opens_at, n, price[rows])]


def _greedy(
    prior: Prior, points: FloatArray, opens_at: FloatArray, n: int, price: FloatArray
) -> IntArray:
    """Positions (n,) in `points` (P, F), each the best when it is chosen.

    opens_at: (P,), the number of choices after which a point may be chosen; infinite for points
    that were chosen before, which are the first ones.
    Cholesky pivoting: a choice adds one row to the factor and changes none.
    """
    known = int(np.isinf(opens_at).sum())
    left, opens_at = prior.variance(points), opens_at.copy()
    factor = np.empty((0, len(points)))
    picks = list(range(known))
    for step in range(known + n):
        if step >= known:
            picks.append(int(np.argmax(np.where(opens_at <= step, left / price, -np.inf))))
        pick = picks[step]
        opens_at[pick] = np.inf
        column = prior.covariance(points[[pick]], points)[0] - factor[:, pick] @ factor
        new = column / np.sqrt(max(left[pick], 0.0) + prior.noise_variance)
        factor, left = np.vstack([factor, new]), left - new**2
    return np.array(picks[known:], np.intp)


def _allowed(count: int, barred: ArrayLike, seed: int) -> IntArray:
    """All rows that are not barred, in an order that the seed decides."""
    order = np.random.default_rng(seed).permutation(count)
    return order[~np.isin(order, np.asarray(barred, np.intp))]


def _require(n: int, free: IntArray, count: int) -> None:
    if len(free) < n:
        raise ValueError(f"{n} rows were asked for, but only {len(free)} of {count} are free")


def _checked(cost_s: FloatArray, count: int) -> FloatArray:
    if cost_s.shape != (count,) or not (cost_s > 0).all():
        raise ValueError(f"`cost_s` must be ({count},) positive seconds, got {cost_s.shape}")
    return cost_s


ACQUISITIONS: dict[str, Acquisition] = {"variance": variance, "random": random}
