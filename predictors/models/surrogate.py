"""A Gaussian process for each of many columns measured on the same networks.

It fills in the reference devices: some hundreds to thousands of networks were measured on each,
all others are predicted from structure. The columns share their kernel matrices.
"""

from __future__ import annotations

from collections.abc import Callable
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
    return _columns(structure, rows, columns, _means)


def deviations(structure: FloatArray, rows: IntArray, columns: FloatArray) -> FloatArray:
    """Posterior standard deviations (N, R) of what `predict_columns` predicts, without noise.

    It takes the time of n^2 N multiplications for each hyper-parameter that a column chose.
    """
    return _columns(structure, rows, columns, _deviations)


_Point = tuple[float, float, float]
_Posterior = Callable[[FloatArray, IntArray, FloatArray, _Point], FloatArray]


def _columns(
    structure: FloatArray, rows: IntArray, columns: FloatArray, posterior: _Posterior
) -> FloatArray:
    """(N, R), `posterior` of each column under the grid point that has the best evidence."""
    z = Standardisation.fit(structure, TrainingRows.of(rows)).apply(structure)
    z = z[:, np.ptp(z[rows], axis=0) > 0]
    predicted = np.empty((len(z), columns.shape[1]))
    for pattern, members in _by_mask(columns):
        known, seen = rows[pattern], columns[np.ix_(pattern, members)]
        best = np.argmax(_evidence(z[known[:SUBSET]], seen[:SUBSET]), axis=0)
        for point in np.unique(best):
            same = members[best == point]
            predicted[:, same] = posterior(z, known, seen[:, best == point], GRID[point])
    return predicted


def _by_mask(columns: FloatArray) -> list[tuple[IntArray, IntArray]]:
    """(rows, columns) for each set of columns that were measured on the same rows."""
    masks, member = np.unique(np.isfinite(columns), axis=1, return_inverse=True)
    return [
        (np.flatnonzero(masks[:, k]), np.flatnonzero(member == k)) for k in range(masks.shape[1])
    ]


def _evidence(z: FloatArray, columns: FloatArray) -> FloatArray:
    """Log evidence of each grid point for each column: (len(GRID), R)."""
    straight, curved, ones = linear(z, z), rbf(z, z), np.eye(len(z))
    return np.stack(
        [
            Conditioned.on(1 + a * straight + b * curved + noise * ones, columns).log_evidence()
            for a, b, noise in GRID
        ]
    )


def _means(z: FloatArray, rows: IntArray, columns: FloatArray, point: _Point) -> FloatArray:
    """(N, K) under one grid point."""
    a, b, noise = point
    known = z[rows]
    covariance = 1 + a * linear(known, known) + b * rbf(known, known)
    weights = np.linalg.solve(covariance + noise * np.eye(len(rows)), columns)
    return np.concatenate(
        [(1 + a * linear(c, known) + b * rbf(c, known)) @ weights for c in _chunks(z)]
    )


def _deviations(z: FloatArray, rows: IntArray, columns: FloatArray, point: _Point) -> FloatArray:
    """(N, K) under one grid point: the same for all columns."""
    a, b, noise = point
    known = z[rows]
    covariance = 1 + a * linear(known, known) + b * rbf(known, known)
    inner = Conditioned.on(covariance + noise * np.eye(len(rows)), columns)
    variances = []
    for c in _chunks(z):
        _, reduction = inner.explain(1 + a * linear(known, c) + b * rbf(known, c))
        variances.append(1 + a * (c**2).mean(1) + b - (reduction**2).sum(0))
    std = np.sqrt(np.maximum(np.concatenate(variances), 0.0))
    return np.repeat(std[:, None], columns.shape[1], axis=1)


def _chunks(z: FloatArray) -> list[FloatArray]:
    return [z[start : start + _CHUNK] for start in range(0, len(z), _CHUNK)]
