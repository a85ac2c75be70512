"""Which networks to measure next: pure functions of what is believed, and of a seed.

For a Gaussian process the posterior variance depends on where was measured and not on what came
out. A whole batch can so be chosen before any of it is measured, and the same seed chooses the
same networks in every run, in whatever batches it is asked.

    choose = ACQUISITIONS["variance"]
    rows = choose(Pool(features, seed=0), taken, n=5, prior=gaussian_process)

A mixture learns from what came out which of its hypotheses to doubt. Its belief after some samples
is a prior, too, and chooses better from the third sample on:

    belief = mixture.fit(observations).belief("pi4")
    rows = choose(Pool(features, seed=0, measured=rows), (), n=1, prior=belief)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from predictors import FloatArray, IntArray
from predictors.models.kernels import squared_distances

POOL = 500
"""Candidates that the first choices are among, drawn by the seed. The most uncertain networks are
the odd ones on a space's rim, where one spike misleads most: on published devices that spike, 2,000
cost .04 of rank correlation at 5 samples; on quiet ones they gained .02 at most."""

POOL_GROWS_EVERY = 5
"""Choices after which POOL more candidates join: later samples tell a spike on the rim by."""

AVERAGED = 300
"""Networks over which `alc` averages what is left unknown."""

SPREAD_OUT_EVERY = 5
"""Of so many choices of `robust`, one spreads out over the space whatever the model says."""

Cost = FloatArray | None
"""(N,), expected device seconds of each network of a pool; None where all cost the same."""


class Prior(Protocol):
    """What is believed of latency before measuring more. Units cancel: any common scale will do."""

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


@dataclass(frozen=True, eq=False)
class Pool:
    """The networks to choose among.

    features: (N, F), all that could ever be chosen, always in the same order.
    seed: equal arguments give equal rows, and two calls for n/2 give the rows of one for n.
    barred: rows that may not be chosen and teach nothing, such as a held-out set.
    measured: rows that may not be chosen again, since the prior knows what came of them.
    """

    features: FloatArray
    seed: int
    barred: IntArray = field(default_factory=lambda: np.empty(0, np.intp))
    measured: IntArray = field(default_factory=lambda: np.empty(0, np.intp))

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def order(self) -> IntArray:
        """All rows that are not barred, measured ones too, in an order that the seed decides."""
        order = np.random.default_rng(self.seed).permutation(len(self))
        return order[~np.isin(order, self.barred)]

    def free(self, taken: IntArray, n: int) -> IntArray:
        """The rows that may be chosen, in order. Raises ValueError if there are fewer than `n`."""
        free = self.order[~np.isin(self.order, np.concatenate([taken, self.measured]))]
        if len(free) < n:
            raise ValueError(
                f"{n} rows were asked for, but only {len(free)} of {len(self)} are free"
            )
        return free


class Acquisition(Protocol):
    """Chooses `n` rows of `pool`, none of them in `taken`, in order of worth.

    taken: rows that were chosen before, of which the prior does not know what came.
    prior: what the model expects; `random` and `kmeans` do not look at it.

    Raises ValueError if fewer than `n` rows are free.
    """

    def __call__(
        self, pool: Pool, taken: ArrayLike, n: int, *, prior: Prior, cost_s: Cost = None
    ) -> IntArray:
        """(n,) row numbers."""
        ...


def random(
    pool: Pool, taken: ArrayLike, n: int, *, prior: Prior | None = None, cost_s: Cost = None
) -> IntArray:
    """Rows in an order drawn by the seed: the baseline. `prior` and `cost_s` are not looked at."""
    del prior, cost_s
    return pool.free(np.asarray(taken, np.intp), n)[:n]


def variance(
    pool: Pool, taken: ArrayLike, n: int, *, prior: Prior, cost_s: Cost = None
) -> IntArray:
    """Greedily the row of largest posterior variance, given all rows before it.

    With `cost_s`, the largest variance for each device second. Choosing greedily is within
    1 - 1/e of the best batch for the information gained (Krause, Singh & Guestrin, Near-Optimal
    Sensor Placements in Gaussian Processes, JMLR 2008, section 4).
    """
    rows, opens_at = _looked_at(pool, taken, n)
    price = _price(cost_s, len(pool))[rows]
    return rows[_greedy(_Column(prior, pool.features[rows]), opens_at, n, price)]


def alc(pool: Pool, taken: ArrayLike, n: int, *, prior: Prior, cost_s: Cost = None) -> IntArray:
    """Greedily the row that lowers the mean posterior variance most, for each device second.

    Cohn, Neural Network Exploration Using Optimal Experiment Design, NeurIPS 1994, section 3.
    The mean is over AVERAGED of the pool, drawn by the seed.
    """
    rows, opens_at = _looked_at(pool, taken, n)
    others = np.random.default_rng([pool.seed, 1]).permutation(len(pool))[:AVERAGED]
    points = np.concatenate([pool.features[rows], pool.features[others]])
    price = _price(cost_s, len(pool))[rows]
    full = prior.covariance(points, pool.features[rows])
    picks, known = [], int(np.isinf(opens_at).sum())
    for step in range(known + n):
        variance_left = np.maximum(np.diag(full[: len(rows)]), 0.0) + prior.noise_variance
        gain = (full[len(rows) :] ** 2).sum(0) / variance_left / price
        pick = step if step < known else int(np.argmax(np.where(opens_at <= step, gain, -np.inf)))
        picks.append(pick)
        opens_at[pick] = np.inf
        full = full - np.outer(full[:, pick], full[pick]) / variance_left[pick]
    return rows[picks[known:]]


def reduction(prior: Prior, features: FloatArray, noise_variance: float) -> FloatArray:
    """(M,): by how much the mean variance of M networks sinks when that one of them is measured.

    features: (M, F). noise_variance: of the measurement. As `alc` has it for its first choice.
    """
    between = prior.covariance(features, features)
    return np.asarray((between**2).mean(0) / (np.maximum(np.diag(between), 0.0) + noise_variance))


def kmeans(
    pool: Pool, taken: ArrayLike, n: int, *, prior: Prior | None = None, cost_s: Cost = None
) -> IntArray:
    """Greedily the row that brings all others nearest to one that is chosen, for each second.

    The distortion of k-means with centres among the candidates, one centre after the other
    (Likas, Vlassis & Verbeek, The Global k-means Clustering Algorithm, Pattern Recognition 2003),
    so that a larger batch continues a smaller one. Distances are in standardised features.
    """
    del prior
    before = np.concatenate([pool.measured, np.asarray(taken, np.intp)])
    rows, opens_at = _looked_at(replace(pool, measured=np.empty(0, np.intp)), before, n)
    apart = _distances(pool.features, rows)
    price = _price(cost_s, len(pool))[rows]
    known = int(np.isinf(opens_at).sum())
    nearest = apart[:known].min(0, initial=np.inf) if known else np.full(len(rows), apart.max())
    picks: list[int] = []
    for step in range(known, known + n):
        gain = np.maximum(nearest - apart, 0.0).sum(1) / price
        picks.append(int(np.argmax(np.where(opens_at <= step, gain, -np.inf))))
        opens_at[picks[-1]] = np.inf
        nearest = np.minimum(nearest, apart[picks[-1]])
    return rows[picks]


def robust(pool: Pool, taken: ArrayLike, n: int, *, prior: Prior, cost_s: Cost = None) -> IntArray:
    """`variance`, but for each fifth choice, which is by `kmeans`: a model that is wrong is wrong
    about where it is uncertain, too, and never looks where it feels sure."""
    before = np.asarray(taken, np.intp)
    pool.free(before, n)
    known = before
    while (more := len(before) + n - len(known)) > 0:
        sure = SPREAD_OUT_EVERY - 1 - (len(pool.measured) + len(known)) % SPREAD_OUT_EVERY
        choose: Acquisition = variance if sure else kmeans
        rows = choose(pool, known, min(max(sure, 1), more), prior=prior, cost_s=cost_s)
        known = np.concatenate([known, rows])
    return known[len(before) :]


class _Column:
    """Prior covariance of points, (P, F), column by column."""

    def __init__(self, prior: Prior, points: FloatArray) -> None:
        self._prior, self._points = prior, points
        self.noise_variance = prior.noise_variance

    def diagonal(self) -> FloatArray:
        """(P,)."""
        return self._prior.variance(self._points)

    def __call__(self, point: int) -> FloatArray:
        """(P,), covariance of one point with all."""
        return np.asarray(self._prior.covariance(self._points[[point]], self._points)[0])


def _greedy(column: _Column, opens_at: FloatArray, n: int, price: FloatArray) -> IntArray:
    """Positions (n,) among P points, each the best when it is chosen.

    opens_at: (P,), the number of choices after which a point may be chosen; infinite for points
    that were chosen before, which are the first ones.
    Cholesky pivoting: a choice adds one row to the factor and changes none.
    """
    known = int(np.isinf(opens_at).sum())
    left, opens_at = column.diagonal(), opens_at.copy()
    factor = np.empty((0, len(price)))
    picks = list(range(known))
    for step in range(known + n):
        if step >= known:
            picks.append(int(np.argmax(np.where(opens_at <= step, left / price, -np.inf))))
        pick = picks[step]
        opens_at[pick] = np.inf
        rest = column(pick) - factor[:, pick] @ factor
        new = rest / np.sqrt(max(left[pick], 0.0) + column.noise_variance)
        factor, left = np.vstack([factor, new]), left - new**2
    return np.array(picks[known:], np.intp)


def _looked_at(pool: Pool, taken: ArrayLike, n: int) -> tuple[IntArray, FloatArray]:
    """Rows (P,), those taken before first; and after how many choices of this call and of those
    before, but for measured ones, each may be chosen."""
    before = np.asarray(taken, np.intp)
    free = pool.free(before, n)
    opens = np.arange(len(pool.order)) // POOL * POOL_GROWS_EVERY - len(pool.measured)
    fresh = (opens < len(before) + n) & np.isin(pool.order, free)
    opens_at = np.concatenate([np.full(len(before), np.inf), opens[fresh]])
    return np.concatenate([before, pool.order[fresh]]), opens_at


def _distances(candidates: FloatArray, rows: IntArray) -> FloatArray:
    """(P, P), squared, in features standardised over the candidates; constant ones are nothing."""
    scale = candidates.std(0)
    z = candidates[rows][:, scale > 0] / scale[scale > 0]
    return squared_distances(z, z)


def _price(cost_s: FloatArray | None, count: int) -> FloatArray:
    if cost_s is None:
        return np.ones(count)
    if cost_s.shape != (count,) or not (cost_s > 0).all():
        raise ValueError(f"`cost_s` must be ({count},) positive seconds, got {cost_s.shape}")
    return cost_s


ACQUISITIONS: dict[str, Acquisition] = {
    "variance": variance,
    "alc": alc,
    "kmeans": kmeans,
    "robust": robust,
    "random": random,
}
