"""Training devices as neural predictors learn from them, and how a target's samples join them.

Networks learn values between 0 and 1: the square root of a device's latency, standardised,
clipped, and scaled to its own range. (The published predictors scale latency itself by its extremes
over the whole table, also a target's. A few samples do not show extremes, and spikes make them;
square roots rank alike, since that is monotone.) A target's samples get values by matching their
mean and spread to those of what a training device would have there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
    """From values to square roots of latency relative to a device's median: base + span * value."""

    base: float
    span: float

    def roots(self, values: FloatArray) -> FloatArray:
        """(M,) -> (M,)."""
        return np.asarray(self.base + self.span * values)

    def values(self, roots: FloatArray) -> FloatArray:
        """(M,) -> (M,), limited to 0 and 1."""
        return np.clip((roots - self.base) / self.span, 0.0, 1.0)

    def matched(self, values: FloatArray, roots: FloatArray) -> Scale:
        """The scale of a target: where `values` (n,) are expected and `roots` (n,) were measured.

        Its mean and spread are those of the samples; the spread is shrunk towards this scale's.
        """
        if not len(roots):
            return self
        ratio = float(roots.mean() / self.roots(values).mean())
        known, variance = self.span * ratio, float(values.var()) + SMALLEST_SPREAD**2
        free, prior = len(roots) - 1, PRIOR_SAMPLES / len(roots)
        squares = free * float(roots.var()) + prior * known**2 * variance
        span = float(np.sqrt(squares / ((free + prior) * variance)))
        return Scale(float(roots.mean() - span * values.mean()), span)


@dataclass(frozen=True, eq=False)
class TrainingDevices:
    """What was measured on the training devices.

    features: (t, F), the training networks, encoded. values: (t, R), NaN where not measured.
    rows: (t,), the networks in the pool. typical: the scale of a typical device.
    """

    devices: tuple[str, ...]
    features: FloatArray
    values: FloatArray
    rows: IntArray
    typical: Scale

    @classmethod
    def of(cls, features: FloatArray, references: References) -> TrainingDevices:
        """features: (N, F), every network of the pool, encoded."""
        rows = references.rows.indices
        latency_s = references.latency_s[rows]
        own = Normalisation.fit(latency_s)
        z = own.values(latency_s)
        low, high = np.nanmin(z, axis=0), np.nanmax(z, axis=0)
        span = np.where(high > low, high - low, 1.0)
        base, width = own.mean + low * own.scale, span * own.scale
        typical = Scale(float(np.median(base)), float(np.median(width)))
        return cls(references.devices, features[rows], (z - low) / span, rows, typical)


def nearest(known: FloatArray, roots: FloatArray) -> int:
    """The training device that ranks the samples best (Multi-Predict, equation 1).

    known: (n, R), the devices' latencies of the samples, as a network has them.
    """
    ranks = [metrics.spearman(column, roots) for column in known.T]
    return int(np.argmax([-1.0 if rho is None else rho for rho in ranks]))


def by_roots(
    adapt: Callable[[FloatArray, FloatArray], Fitted], x: FloatArray, log_s: FloatArray
) -> Fitted:
    """A rule on log-latencies from one on square roots relative to the median sample.

    x: (n, F), log_s: (n,) log-seconds. adapt: (n, F), (n,) roots -> a prediction of roots.
    """
    unit_log_s = float(np.median(log_s))
    predict = adapt(x, np.exp((log_s - unit_log_s) / 2))
    return lambda new: unit_log_s + 2 * np.log(positive(predict(new)))
