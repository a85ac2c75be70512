"""Statistics of raw latency samples. Everything here is a pure function."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NOISY_HALF_WIDTH = 0.05
"""Relative half-width of the 95 % interval beyond which a measurement is called noisy."""

_RESAMPLES = 1000


def latency(samples_s: Sequence[Sequence[float]]) -> float:
    """The median over rounds of each round's minimum, in seconds.

    The minimum drops what the host did in between; the median over rounds, which are apart in
    time, drops a lucky or unlucky round. samples_s: rounds of samples, possibly of unequal length.
    """
    return float(np.median(_round_minima(samples_s)))


def interval(samples_s: Sequence[Sequence[float]]) -> tuple[float, float]:
    """A 95 % percentile-bootstrap interval of `latency`, resampled over rounds, in seconds.

    The generator is seeded: the same samples give the same interval.
    """
    minima = _round_minima(samples_s)
    rng = np.random.default_rng(0)
    resampled = minima[rng.integers(0, len(minima), (_RESAMPLES, len(minima)))]
    low, high = np.percentile(np.median(resampled, axis=1), [2.5, 97.5])
    return float(low), float(high)


def _round_minima(samples_s: Sequence[Sequence[float]]) -> np.ndarray:
    if not samples_s or not all(samples_s):
        raise ValueError(
            f"every round must hold a sample, got rounds of {[len(r) for r in samples_s]}"
        )
    return np.array([min(row) for row in samples_s])
