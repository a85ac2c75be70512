"""A Gaussian process for each of many columns measured on the same networks.

It fills in the reference devices: some hundreds to thousands of networks were measured on each,
all others are predicted from structure. The columns share their kernel matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from predictors import FloatArray, IntArray
from predictors.encodings.normalisation import Standardisation, TrainingRows
from predictors.models.evidence import Conditioned
from predictors.models.kernels import linear, rbf

GRID = tuple(product((1.0, 10.0), (0.03, 0.3, 1.0), (1e-3, 1e-2, 5e-2, 0.2)))
"""Variances of the linear kernel, the RBF kernel and the noise; the columns have variance 1."""

SUBSET = 600
"""Rows that hyper-parameters are chosen on: the choice among 24 needs no more."""

_CHUNK = 2048


def predict_columns(structure: FloatArray, rows: IntArray, columns: FloatArray) -> FloatArray:
    """Posterior means (N, R) for all networks.

    structure: (N, S), any scale. rows: (n,), the networks that were measured.
    columns: (n, R), what was measured, zero mean and unit variance each; NaN where it was not.
    """
    return _columns(structure, rows, columns, Surrogate.means)


def deviations(structure: FloatArray, rows: IntArray, columns: FloatArray) -> FloatArray:
    """Posterior standard deviations (N, R) of what `predict_columns` predicts, without noise.

    It takes the time of n^2 N multiplications for each hyper-parameter that a column chose.
    """
    return _columns(structure, rows, columns, Surrogate.deviations)


@dataclass(frozen=True, eq=False)
class Surrogate:
    """Columns that were measured on the same rows, each under its own point of GRID.

    z: (N, S), standardised. known: (n, S), rows of z. inner: for each point in use, the Cholesky
    factor of its covariance. columns: (n, K). points: (K,), the grid point of each.
    """

    z: FloatArray
    known: FloatArray
    inner: dict[int, Conditioned]
    columns: FloatArray
    points: IntArray

    @classmethod
    def of(cls, z: FloatArray, rows: IntArray, columns: FloatArray) -> Surrogate:
        few, known = z[rows[:SUBSET]], z[rows]
        points = np.argmax(_evidence(few, columns[:SUBSET]), axis=0)
        kernels = linear(known, known), rbf(known, known)
        inner = {}
        for t in np.unique(points):
            covariance = _mixed(kernels, int(t)) + GRID[t][2] * np.eye(len(known))
            inner[int(t)] = Conditioned.on(covariance, columns[:, points == t])
        return cls(z, known, inner, columns, points)

    def means(self) -> FloatArray:
        """(N, K)."""
        weights = {t: c.solve(c.whitened) for t, c in self.inner.items()}
        found = np.empty((len(self.z), len(self.points)))
        for here, kernels in self._chunks():
            for t, weight in weights.items():
                a, b, _ = GRID[t]
                straight, curved = kernels[0] @ weight, kernels[1] @ weight
                found[here, self.points == t] = weight.sum(0) + a * straight + b * curved
        return found

    def deviations(self) -> FloatArray:
        """(N, K)."""
        found = np.empty((len(self.z), len(self.points)))
        for here, kernels in self._chunks():
            for t, conditioned in self.inner.items():
                a, b, _ = GRID[t]
                _, reduction = conditioned.explain(_mixed(kernels, t).T)
                variance = 1 + a * (self.z[here] ** 2).mean(1) + b - (reduction**2).sum(0)
                found[here, self.points == t] = np.sqrt(np.maximum(variance, 0.0))[:, None]
        return found

    def _chunks(self) -> Iterator[tuple[slice, tuple[FloatArray, FloatArray]]]:
        """Rows of z, and their kernels (linear and RBF) with the known ones."""
        for start in range(0, len(self.z), _CHUNK):
            here = slice(start, start + _CHUNK)
            yield here, (linear(self.z[here], self.known), rbf(self.z[here], self.known))


def _columns(
    structure: FloatArray,
    rows: IntArray,
    columns: FloatArray,
    posterior: Callable[[Surrogate], FloatArray],
) -> FloatArray:
    """(N, R), `posterior` of the columns, those that were measured on the same rows together."""
    z = Standardisation.fit(structure, TrainingRows.of(rows)).apply(structure)
    z = z[:, np.ptp(z[rows], axis=0) > 0]
    found = np.empty((len(z), columns.shape[1]))
    for pattern, members in _by_mask(columns):
        made = Surrogate.of(z, rows[pattern], columns[np.ix_(pattern, members)])
        found[:, members] = posterior(made)
    return found


def _by_mask(columns: FloatArray) -> list[tuple[IntArray, IntArray]]:
    """(rows, columns) for each set of columns that were measured on the same rows."""
    masks, member = np.unique(np.isfinite(columns), axis=1, return_inverse=True)
    return [
        (np.flatnonzero(masks[:, k]), np.flatnonzero(member == k)) for k in range(masks.shape[1])
    ]


def _evidence(z: FloatArray, columns: FloatArray) -> FloatArray:
    """Log evidence of each grid point for each column: (len(GRID), R)."""
    kernels, ones = (linear(z, z), rbf(z, z)), np.eye(len(z))
    return np.stack(
        [
            Conditioned.on(_mixed(kernels, t) + GRID[t][2] * ones, columns).log_evidence()
            for t in range(len(GRID))
        ]
    )


def _mixed(kernels: tuple[FloatArray, FloatArray], point: int) -> FloatArray:
    """The covariance under one grid point, of linear and RBF kernels."""
    a, b, _ = GRID[point]
    mixed = a * kernels[0]
    mixed += b * kernels[1]
    mixed += 1
    return mixed
