"""A Gaussian process for each of many columns measured on the same networks.

It fills in the reference devices: some hundreds to thousands of networks were measured on each,
all others are predicted from structure. The columns share their kernel matrices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
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

Kernels = tuple[FloatArray, FloatArray]
"""The linear one and the RBF one, of the same networks."""


def predict_columns(structure: FloatArray, rows: IntArray, columns: FloatArray) -> FloatArray:
    """Posterior means (N, R) for all networks.

    structure: (N, S), any scale. rows: (n,), the networks that were measured.
    columns: (n, R), what was measured, zero mean and unit variance each; NaN where it was not.
    """
    return Surrogates.of(structure[rows], columns).means(structure)


def deviations(structure: FloatArray, rows: IntArray, columns: FloatArray) -> FloatArray:
    """Posterior standard deviations (N, R) of what `predict_columns` predicts, without noise.

    It takes the time of n^2 N multiplications for each hyper-parameter that a column chose.
    """
    return Surrogates.of(structure[rows], columns).posterior(structure)[1]


@dataclass(frozen=True, eq=False)
class Surrogates:
    """Fitted columns: what is known of R columns says the same of any network, whatever else is
    asked.

    scaling: of the structure, on the networks that were measured. varies: columns of it that do.
    groups: columns that were measured on the same networks, with their numbers.
    """

    scaling: Standardisation
    varies: IntArray
    groups: tuple[tuple[IntArray, _Group], ...]

    @classmethod
    def of(cls, structure: FloatArray, columns: FloatArray) -> Surrogates:
        """structure: (n, S), of the networks that were measured, any scale. columns: (n, R), as in
        `predict_columns`."""
        scaling = Standardisation.fit(structure, TrainingRows.every(structure))
        z = scaling.apply(structure)
        varies = np.flatnonzero(np.ptp(z, axis=0) > 0)
        z = z[:, varies]
        groups = tuple(
            (members, _Group.of(z[pattern], columns[np.ix_(pattern, members)]))
            for pattern, members in _by_mask(columns)
        )
        return cls(scaling, varies, groups)

    def means(self, structure: FloatArray) -> FloatArray:
        """(N, S) -> (N, R)."""
        z = self._scaled(structure)
        found = np.empty((len(z), self._width))
        for members, group in self.groups:
            for here, kernels in group.chunks(z):
                found[here, members] = group.means(kernels)
        return found

    def posterior(self, structure: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(N, S) -> means, and standard deviations without noise, (N, R) each."""
        z = self._scaled(structure)
        means, std = np.empty((2, len(z), self._width))
        for members, group in self.groups:
            for here, kernels in group.chunks(z):
                means[here, members] = group.means(kernels)
                std[here, members] = group.deviations(z[here], kernels)
        return means, std

    def _scaled(self, structure: FloatArray) -> FloatArray:
        return self.scaling.apply(structure)[:, self.varies]

    @property
    def _width(self) -> int:
        return sum(len(members) for members, _ in self.groups)


@dataclass(frozen=True, eq=False)
class _Group:
    """Columns that were measured on the same networks, each under its own point of GRID.

    known: (n, S), standardised. inner: for each point in use, the Cholesky factor of its
    covariance. points: (K,), the grid point of each column.
    """

    known: FloatArray
    inner: dict[int, Conditioned]
    points: IntArray

    @classmethod
    def of(cls, known: FloatArray, columns: FloatArray) -> _Group:
        points = np.argmax(_evidence(known[:SUBSET], columns[:SUBSET]), axis=0)
        kernels = linear(known, known), rbf(known, known)
        inner = {}
        for t in np.unique(points):
            covariance = _mixed(kernels, int(t)) + GRID[t][2] * np.eye(len(known))
            inner[int(t)] = Conditioned.on(covariance, columns[:, points == t])
        return cls(known, inner, points)

    def means(self, kernels: Kernels) -> FloatArray:
        """(M, K). kernels: of M networks with the known ones."""
        found = np.empty((len(kernels[0]), len(self.points)))
        for t, weight in self._weights.items():
            a, b, _ = GRID[t]
            straight, curved = kernels[0] @ weight, kernels[1] @ weight
            found[:, self.points == t] = weight.sum(0) + a * straight + b * curved
        return found

    def deviations(self, z: FloatArray, kernels: Kernels) -> FloatArray:
        """(M, K). z: (M, S)."""
        found = np.empty((len(z), len(self.points)))
        for t, conditioned in self.inner.items():
            a, b, _ = GRID[t]
            _, reduction = conditioned.explain(_mixed(kernels, t).T)
            variance = 1 + a * (z**2).mean(1) + b - (reduction**2).sum(0)
            found[:, self.points == t] = np.sqrt(np.maximum(variance, 0.0))[:, None]
        return found

    def chunks(self, z: FloatArray) -> Iterator[tuple[slice, Kernels]]:
        """Rows of z (N, S), and their kernels with the known networks."""
        for start in range(0, len(z), _CHUNK):
            here = slice(start, start + _CHUNK)
            yield here, (linear(z[here], self.known), rbf(z[here], self.known))

    @cached_property
    def _weights(self) -> dict[int, FloatArray]:
        return {t: c.solve(c.whitened) for t, c in self.inner.items()}


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


def _mixed(kernels: Kernels, point: int) -> FloatArray:
    """The covariance under one grid point, of linear and RBF kernels."""
    a, b, _ = GRID[point]
    mixed = a * kernels[0]
    mixed += b * kernels[1]
    mixed += 1
    return mixed
