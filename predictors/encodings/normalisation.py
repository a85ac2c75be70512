"""Normalisations: fitted on training rows only, applied to every row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from predictors import FloatArray, IntArray

_CONSTANT = 1e-9
"""Relative spread below which a column counts as constant: rounding, not information."""


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """Row numbers that a normalisation may be fitted on.

    indices: (t,) int, rows to fit on.
    held_out: (h,) int, rows that a model is judged by.

    Raises ValueError if there is no row to fit on, or if a row is in both.
    """

    indices: IntArray
    held_out: IntArray

    def __post_init__(self) -> None:
        if not len(self.indices):
            raise ValueError("a normalisation needs at least one training row, got none")
        both = np.intersect1d(self.indices, self.held_out)
        if both.size:
            raise ValueError(
                "a normalisation is fitted on training rows only, but rows "
                f"{both[:5].tolist()} are held out; take them out of `indices`"
            )

    @classmethod
    def of(cls, indices: ArrayLike, held_out: ArrayLike = ()) -> TrainingRows:
        """From anything that numpy reads as row numbers."""
        return cls(np.asarray(indices, np.intp), np.asarray(held_out, np.intp))

    @classmethod
    def every(cls, values: FloatArray) -> TrainingRows:
        """All rows: for columns that are known without measuring, such as a pool's op counts."""
        return cls.of(np.arange(len(values)))


@dataclass(frozen=True, eq=False)
class Standardisation:
    """Mean and scale of each column: (R,) float64 each. A constant column has scale 1.

    rows: what it was fitted on.
    """

    mean: FloatArray
    scale: FloatArray
    rows: TrainingRows

    @classmethod
    def fit(cls, values: FloatArray, rows: TrainingRows) -> Standardisation:
        """Fit on `rows` of `values` (N, R). Raises ValueError if those are not all finite."""
        if not isinstance(rows, TrainingRows):
            raise ValueError(f"say which rows are for training: TrainingRows, got {type(rows)}")
        fitted = values[rows.indices]
        if not np.isfinite(fitted).all():
            raise ValueError("training rows must be finite; leave out the rows with NaN")
        mean, std = fitted.mean(0), fitted.std(0)
        varies = std > _CONSTANT * np.abs(fitted).max(0)
        return cls(mean, np.where(varies, std, 1.0), rows)

    def apply(self, values: FloatArray) -> FloatArray:
        """(M, R) -> (M, R), zero mean and unit scale on the training rows.

        Raises ValueError if the number of columns is another one than it was fitted on.
        """
        if values.ndim != 2 or values.shape[1] != len(self.mean):
            raise ValueError(f"features must be (M, {len(self.mean)}), got {values.shape}")
        return (values - self.mean) / self.scale
