"""How good a prediction is. None stands for "cannot be said": never NaN, never a warning."""

from __future__ import annotations

import numpy as np

from predictors import FloatArray

FEWEST = 3
"""Two points always rank perfectly or perfectly wrong."""


def spearman(predicted: FloatArray, measured: FloatArray) -> float | None:
    """Spearman's rank correlation; None for fewer than FEWEST points or a constant side."""
    if not _rankable(predicted, measured):
        return None
    from scipy import stats

    return float(stats.spearmanr(predicted, measured).statistic)


def kendall(predicted: FloatArray, measured: FloatArray) -> float | None:
    """Kendall's tau-b, which accounts for ties; None as for `spearman`."""
    if not _rankable(predicted, measured):
        return None
    from scipy import stats

    return float(stats.kendalltau(predicted, measured, variant="b").statistic)


def within(predicted_s: FloatArray, measured_s: FloatArray, relative: float) -> float | None:
    """Share of predictions off by at most `relative` of the measured value; None for none."""
    _check(predicted_s, measured_s)
    if not len(measured_s):
        return None
    return float(np.mean(np.abs(predicted_s - measured_s) <= relative * np.abs(measured_s)))


def coverage(low_s: FloatArray, high_s: FloatArray, measured_s: FloatArray) -> float | None:
    """Share of measured values inside their interval, ends included; None for none."""
    _check(low_s, measured_s)
    _check(high_s, measured_s)
    if not len(measured_s):
        return None
    return float(np.mean((low_s <= measured_s) & (measured_s <= high_s)))


def _rankable(a: FloatArray, b: FloatArray) -> bool:
    _check(a, b)
    return bool(len(a) >= FEWEST and np.ptp(a) > 0 and np.ptp(b) > 0)


def _check(a: FloatArray, b: FloatArray) -> None:
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"predicted and measured must be of one length, got {a.shape}, {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("predicted and measured must be finite; drop the failures first")
