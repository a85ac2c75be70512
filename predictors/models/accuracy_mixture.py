"""Our mixture of Gaussian processes on values of any sign and bound, such as accuracies.

It goes by values relative to the samples' median and spread. Nothing here takes a logarithm: values
may be negative, and a shift or a stretch of them does the same to predictions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from predictors import FloatArray, Observations
from predictors.encodings.normalisation import TrainingRows
from predictors.models.mixture_gp import MixtureGP
from predictors.models.plain import Fitted
from predictors.models.scales import TYPICAL_SPREAD

EQUAL = 1e-3
"""Of their size: the standard deviation that equal samples are taken to have."""

FURTHEST = 3.0
"""Standard deviations from the median; networks that learnt nothing are much further off."""


@dataclass(frozen=True)
class Levels:
    """Values as centre + scale * z."""

    centre: float
    scale: float

    @classmethod
    def of(cls, values: FloatArray) -> Levels:
        """Mean and standard deviation of (n,) values."""
        return cls(float(values.mean()), scale_of(values))

    def z(self, values: FloatArray) -> FloatArray:
        """(n,) -> (n,)."""
        return np.asarray((values - self.centre) / self.scale)

    def values(self, z: FloatArray) -> FloatArray:
        """(n,) -> (n,)."""
        return np.asarray(self.centre + self.scale * z)


def scale_of(values: FloatArray) -> float:
    """Standard deviation; next to nothing where all are equal, so that predictions stay there."""
    std, size = float(values.std()), float(np.abs(values).max())
    return std if std > 1e-9 * size else EQUAL * size or 1.0


def limited_scores(values: FloatArray) -> FloatArray:
    """(n,) standardised, no further than FURTHEST from the mean."""
    return np.clip(Levels.of(values).z(values), -FURTHEST, FURTHEST)


Believed = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""From rows (M, F) to values (M,) and the standard deviation of one more result of each, (M,)."""


def for_and_against(proxies: FloatArray) -> FloatArray:
    """(N, Z) -> (N, 2 Z)."""
    return np.column_stack([proxies, -proxies])


@dataclass(frozen=True, eq=False)
class Mixture:
    """Our mixture of Gaussian processes (`predictors.models.mixture_gp`) on values of any sign.

    That model goes by square roots relative to their median, of positive values. A value is given
    to it as the square of 1 + spread * z, z being deviations from the median sample, no more than
    FURTHEST: positive for every z, and its root is the value again, on another scale.
    """

    model: MixtureGP

    @classmethod
    def over(cls, known: FloatArray, proxies: FloatArray, structure: FloatArray) -> Mixture:
        """known: (N, R), other tasks' values of all networks, predicted or measured; proxies:
        (N, Z), which may rank for or against; structure: (N, S). R or Z may be 0."""
        both = for_and_against(proxies)
        typical = np.full(known.shape[1], TYPICAL_SPREAD), np.full(both.shape[1], TYPICAL_SPREAD)
        rows = TrainingRows.every(structure)
        model = MixtureGP.over(known, both, structure, rows, *typical)
        return cls(replace(model, sums=None))

    @property
    def features(self) -> FloatArray:
        """(N, F), the rows that it is asked about."""
        return self.model.features

    def __call__(self, x: FloatArray, values: FloatArray) -> Fitted:
        """x: (n, F), of `features`, values: (n,)."""
        belief = self.fit(x, values)
        return lambda new: belief(new)[0]

    def fit(self, x: FloatArray, values: FloatArray) -> Believed:
        """The same, with how sure it is."""
        levels = Levels(float(np.median(values)), scale_of(values))
        z = np.clip(levels.z(values), -FURTHEST, FURTHEST)
        fitted = self.model.fit(Observations.of_one("task", x, (1 + TYPICAL_SPREAD * z) ** 2))

        def predict(new: FloatArray) -> tuple[FloatArray, FloatArray]:
            found = fitted.posterior(new, "task")
            roots, log_std = np.exp(found.mean / 2), np.hypot(found.std, found.noise_std)
            std = levels.scale * roots * log_std / 2 / TYPICAL_SPREAD
            return levels.values((roots - 1) / TYPICAL_SPREAD), np.asarray(std)

        return predict
