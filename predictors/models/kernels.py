"""Covariance functions on standardised features, as stacks of components.

A model weighs the components; here they have unit variance on average over the pool.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from predictors import FloatArray
from predictors.encodings.normalisation import Standardisation, TrainingRows

ADDITIVE_LENGTH = 1.0
"""Length scale of one feature's own curve, in standard deviations of that feature."""


def squared_distances(a: FloatArray, b: FloatArray) -> FloatArray:
    """(A, F), (B, F) -> (A, B)."""
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None]
    squares -= 2 * a @ b.T
    return np.asarray(np.maximum(squares, 0.0, out=squares))


def linear(a: FloatArray, b: FloatArray) -> FloatArray:
    """Mean over features of z z': (A, F), (B, F) -> (A, B)."""
    return np.asarray(a @ b.T / max(a.shape[1], 1))


def rbf(a: FloatArray, b: FloatArray) -> FloatArray:
    """exp(-d^2 / 2F): smooth in all features together, (A, F), (B, F) -> (A, B)."""
    found = squared_distances(a, b)
    found /= -2 * max(a.shape[1], 1)
    return np.exp(found, out=found)


def additive(a: FloatArray, b: FloatArray) -> FloatArray:
    """Mean over features of a smooth curve in that feature alone: (A, F), (B, F) -> (A, B)."""
    total = np.zeros((len(a), len(b)))
    for z, other in zip(a.T, b.T, strict=True):
        total += np.exp(-((z[:, None] - other[None]) ** 2) / (2 * ADDITIVE_LENGTH**2))
    return np.asarray(total / max(a.shape[1], 1))


@dataclass(frozen=True, eq=False)
class FeatureKernels:
    """The linear, additive and RBF kernels on features standardised over a pool of networks.

    standardisation: of all F columns.
    varying: columns (V,) that differ within the pool; the others say nothing there.
    curved: columns (C,) with more than two values there; in two values every curve is a line.
    """

    standardisation: Standardisation
    varying: tuple[int, ...]
    curved: tuple[int, ...]

    COUNT = 3

    @classmethod
    def of_pool(cls, pool: FloatArray) -> FeatureKernels:
        """pool: (N, F), the candidate networks. Raises ValueError for values not finite."""
        fitted = Standardisation.fit(pool, TrainingRows.every(pool))
        values = [len(np.unique(np.round(z, 9))) for z in fitted.apply(pool).T]
        varying = tuple(i for i, count in enumerate(values) if count > 1)
        return cls(fitted, varying, tuple(i for i in varying if values[i] > 2))

    def matrices(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """Raw features (A, F), (B, F) -> (COUNT, A, B)."""
        za, zb = self.standardisation.apply(a), self.standardisation.apply(b)
        all_a, all_b = za[:, self.varying], zb[:, self.varying]
        curves = additive(za[:, self.curved], zb[:, self.curved])
        return np.stack([linear(all_a, all_b), curves, rbf(all_a, all_b)])

    def diagonals(self, a: FloatArray) -> FloatArray:
        """Raw features (A, F) -> (COUNT, A), the diagonals of `matrices(a, a)`."""
        z = self.standardisation.apply(a)[:, self.varying]
        own = float(bool(self.curved))
        return np.stack([(z**2).sum(1) / max(z.shape[1], 1), np.full(len(z), own), np.ones(len(z))])
