"""Training devices as neural predictors learn from them, and how a target's samples join them.

Networks learn values between 0 and 1: a device's latency, scaled by its extremes on the training
networks, as the published predictors do; or by the ends of what is left without a share of outliers
(HELP). With `bent`, what is scaled is the square root, without spikes: not in the papers. A level
is a latency relative to a device's median, or its square root.

The published code scales a target's latencies by its extremes over the whole table. A few samples
do not show those: here they get values by matching their mean and spread to those of what a
training device would have there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from predictors import FloatArray, IntArray, metrics
from predictors.encodings.hwl import Normalisation, References, positive
from predictors.models.plain import Fitted

PRIOR_SAMPLES = 0.5
"""Samples that a training device's spread counts for beside one of a target; less beside more."""

SMALLEST_SPREAD = 0.01
"""Of values: samples that a network finds alike say little about a device's spread."""


@dataclass(frozen=True)
class Scale:
    """From values to levels: base + span * value."""

    base: float
    span: float

    def levels(self, values: FloatArray) -> FloatArray:
        """(M,) -> (M,)."""
        return np.asarray(self.base + self.span * values)

    def values(self, levels: FloatArray) -> FloatArray:
        """(M,) -> (M,), beyond 0 and 1 where a level is beyond the extremes."""
        return np.asarray((levels - self.base) / self.span)

    def matched(self, values: FloatArray, levels: FloatArray) -> Scale:
        """The scale of a target: where `values` (n,) are expected and `levels` (n,) were measured.

        Its mean and spread are those of the samples; the spread is shrunk towards this scale's.
        """
        if not len(levels):
            return self
        ratio = float(levels.mean() / self.levels(values).mean())
        known, variance = self.span * ratio, float(values.var()) + SMALLEST_SPREAD**2
        free, prior = len(levels) - 1, PRIOR_SAMPLES / len(levels)
        squares = free * float(levels.var()) + prior * known**2 * variance
        span = float(np.sqrt(squares / ((free + prior) * variance)))
        return Scale(float(levels.mean() - span * values.mean()), span)


@dataclass(frozen=True, eq=False)
class TrainingDevices:
    """What was measured on the training devices.

    features: (t, F), the training networks, encoded. values: (t, R), NaN where not measured.
    rows: (t,), the networks in the pool. typical: the scale of a typical device. pool: (N, F) and
    (N, R), the networks that training devices are compared with a target on, and their values.
    """

    devices: tuple[str, ...]
    features: FloatArray
    values: FloatArray
    rows: IntArray
    typical: Scale
    pool: tuple[FloatArray, FloatArray]

    @classmethod
    def of(
        cls,
        features: FloatArray,
        references: References,
        bent: bool = False,
        outliers: float = 0.0,
        everywhere: bool = False,
    ) -> TrainingDevices:
        """features: (N, F), every network of the pool, encoded.

        outliers: share of the fastest and of the slowest networks beyond 0 and 1. everywhere:
        training devices may be compared with a target on networks that are no training networks.
        """
        rows = references.rows.indices
        latency_s = references.latency_s if everywhere else references.latency_s[rows]
        levels = latency_s / np.nanmedian(references.latency_s[rows], axis=0)
        if bent:
            own = Normalisation.fit(references.latency_s[rows])
            levels = own.mean + own.scale * own.values(latency_s)
        of_rows = levels[rows] if everywhere else levels
        low, high = np.nanquantile(of_rows, [outliers, 1 - outliers], axis=0)
        span = np.where(high > low, high - low, 1.0)
        values = (levels - low) / span
        typical = Scale(float(np.median(low)), float(np.median(span)))
        pool = (features if everywhere else features[rows], values)
        of_rows = values[rows] if everywhere else values
        return cls(references.devices, features[rows], of_rows, rows, typical, pool)

    def known(self, x: FloatArray, expected: FloatArray) -> FloatArray:
        """(n, R), the values of networks x (n, F): as measured, or else as `expected` (n, R)."""
        places = [self._places.get(row.tobytes(), -1) for row in np.ascontiguousarray(x)]
        measured = self.pool[1][places]
        there = np.isfinite(measured) & (np.array(places, np.intp) >= 0)[:, None]
        return np.where(there, measured, expected)

    @cached_property
    def _places(self) -> dict[bytes, int]:
        return {row.tobytes(): i for i, row in enumerate(np.ascontiguousarray(self.pool[0]))}


def nearest(known: FloatArray, levels: FloatArray) -> int:
    """The training device that ranks the samples best (Multi-Predict, equation 1).

    known: (n, R), the devices' latencies of the samples.
    """
    ranks = [metrics.spearman(column, levels) for column in known.T]
    return int(np.argmax([-1.0 if rho is None else rho for rho in ranks]))


def by_levels(
    adapt: Callable[[FloatArray, FloatArray], Fitted],
    x: FloatArray,
    log_s: FloatArray,
    bent: bool = False,
) -> Fitted:
    """A rule on log-latencies from one on levels.

    x: (n, F), log_s: (n,) log-seconds. adapt: (n, F), (n,) levels -> a prediction of levels.
    """
    unit_log_s, power = float(np.median(log_s)), 2 if bent else 1
    predict = adapt(x, np.exp((log_s - unit_log_s) / power))
    return lambda new: unit_log_s + power * np.log(positive(predict(new)))
