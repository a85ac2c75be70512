"""Times of kernels that were never timed, from those that were: a small Gaussian process. And which
kernels to time, so that it knows most of the networks that call them.

On the logarithm of the time: linear in the features, as what is bound by arithmetic or by memory
is, with what is smooth in them around it. Scales are averaged by evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy.special import logsumexp

from predictors import FloatArray, Posterior
from predictors.encodings.normalisation import Standardisation, TrainingRows
from predictors.models.kernels import squared_distances

LEVEL_STD, LINEAR_STD = 3.0, 1.5
"""Log-seconds; of the mean, and of what a spread in all features makes."""

LENGTHS, SMOOTH, NOISES = (0.4, 1.0, 2.5), (0.15, 0.5), (0.01, 0.04, 0.15)
"""Relative to the square root of the number of features; log-seconds."""

GRID = tuple(product(LENGTHS, SMOOTH, NOISES))

EXPECTED = (1.0, 0.5, 0.15)
"""The point of the grid that is believed in before anything is timed."""

MEASURED_STD = 0.005
"""Log-seconds; of a kernel's time once it is timed."""


def predicted(known: FloatArray, time_s: FloatArray, wanted: FloatArray) -> Posterior:
    """known: (n, F) features of timed kernels; time_s: (n,) seconds; wanted: (M, F)."""
    both = np.concatenate([known, wanted])
    scaled = Standardisation.fit(both, TrainingRows.every(both)).apply(both)
    mine, theirs = scaled[: len(known)], scaled[len(known) :]
    log_s = np.log(time_s)
    centre = float(log_s.mean()) if len(log_s) else 0.0
    found = [_conditioned(point, log_s - centre, mine, theirs) for point in GRID]
    log_weight = np.array([evidence for _, _, evidence in found])
    weight = np.exp(log_weight - logsumexp(log_weight))
    means, variances = (np.stack([one[i] for one in found]) for i in (0, 1))
    mean = weight @ means
    variance = weight @ (variances + (means - mean) ** 2)
    return Posterior(centre + mean, np.sqrt(variance), np.zeros(len(mean)))


def most_telling(
    features: FloatArray, shares: FloatArray, known: Sequence[int], most: int
) -> list[int]:
    """The kernels to time, at most so many: each lowers most, after those before it, the variance
    of the networks' summed times, all networks together.

    features: (K, F). shares: (N, K), of a network's time that it spends in a kernel, as expected.
    known: positions of kernels that are timed already.
    """
    scaled = Standardisation.fit(features, TrainingRows.every(features)).apply(features)
    own = _covariance(EXPECTED, scaled, scaled) + EXPECTED[2] ** 2 * np.eye(len(scaled))
    across = shares @ own
    told = np.zeros(len(scaled), dtype=bool)
    found: list[int] = []
    ahead = list(known)
    while ahead or (len(found) < most and not told.all()):
        variance = np.diag(own) + MEASURED_STD**2
        gain = np.where(told, -1.0, (across**2).sum(0) / variance)
        kernel = ahead.pop() if ahead else int(gain.argmax())
        if kernel not in known:
            found.append(kernel)
        told[kernel] = True
        across = across - np.outer(across[:, kernel], own[kernel] / variance[kernel])
        own = own - np.outer(own[:, kernel], own[kernel] / variance[kernel])
    return found


def _conditioned(
    point: tuple[float, float, float], centred: FloatArray, known: FloatArray, wanted: FloatArray
) -> tuple[FloatArray, FloatArray, float]:
    """Mean and variance at `wanted`, and the log evidence. centred: (n,) log-seconds."""
    noise = point[2]
    factor = np.linalg.cholesky(_covariance(point, known, known) + noise**2 * np.eye(len(known)))
    white = np.linalg.solve(factor, centred)
    cross = np.linalg.solve(factor, _covariance(point, known, wanted))
    prior = LEVEL_STD**2 + LINEAR_STD**2 * (wanted**2).mean(1) + point[1] ** 2 + noise**2
    evidence = -0.5 * float(white @ white) - float(np.log(np.diag(factor)).sum())
    return cross.T @ white, np.maximum(prior - (cross**2).sum(0), noise**2), evidence


def _covariance(point: tuple[float, float, float], a: FloatArray, b: FloatArray) -> FloatArray:
    length, smooth, _ = point
    size = a.shape[1]
    near = np.exp(-squared_distances(a, b) / (2 * size * length**2))
    return np.asarray(LEVEL_STD**2 + LINEAR_STD**2 * (a @ b.T) / size + smooth**2 * near)
