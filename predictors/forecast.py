"""What n more samples would bring: a forecast of the rank correlation, before they are measured.

If the model is right, latencies are a draw from its posterior, and what it will predict after n
more samples follows from which ones they are and from noise. So both are drawn, again and again,
and ranked against each other.

    forecast = expected_spearman(fitted, features, "pi4", more=5, seed=0)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from predictors import FittedPredictor, FloatArray, IntArray, Posterior

NETWORKS = 300
"""Networks that ranks are taken over; more change the forecast by less than a draw does."""

DRAWS = 200

BETTER = np.array([0.6, 0.1, 1.5])
"""In Fisher's z, added to mean, low and high of what a mixture of settings says. Its settings are
wide enough for any device, most of which are more like known ones: on 28 campaigns over every
second device of the published tables, and on 20 with few references or none, what came was above
the interval in half of all cases, by 1.3 to 1.7 in one of twenty, and hardly ever below."""

LARGEST = 0.9999
"""Correlation whose z is still finite."""


@dataclass(frozen=True)
class Forecast:
    """Spearman's rank correlation between prediction and measurement: the mean, and the interval
    that holds 90 % of what may come."""

    mean: float
    low: float
    high: float


def expected_spearman(
    fitted: FittedPredictor, features: FloatArray, device: str, more: int, seed: int
) -> Forecast:
    """After `more` samples, chosen greedily where the posterior variance is largest.

    features: (N, F), the candidates; NETWORKS of them, drawn by the seed, are looked at. more: 0
    says how good the prediction is now. Raises UnknownName for a device that was not observed,
    ValueError for more samples than candidates or fewer than three candidates.
    """
    rows = np.random.default_rng(seed).permutation(len(features))[:NETWORKS]
    if not 0 <= more < len(rows) - 2:
        raise ValueError(f"`more` must be 0 to {max(len(rows) - 3, 0)}, got {more}")
    return ahead(fitted.posterior(features[rows], device, joint=True), [more], seed)[more]


def ahead(posterior: Posterior, numbers: Sequence[int], seed: int) -> dict[int, Forecast]:
    """After each of some numbers of samples among the M networks of a joint posterior, chosen
    greedily where its variance is largest. Raises ValueError without covariance."""
    covariance, noise = _covariance(posterior), posterior.noise_std**2
    samples = _largest(covariance, noise, max(numbers))
    return {n: of_samples(posterior, samples[:n], seed) for n in numbers}


def of_samples(posterior: Posterior, samples: IntArray, seed: int) -> Forecast:
    """After measuring `samples`, positions among the M networks of a joint posterior.

    Ranks are taken over the networks that are not samples. Raises ValueError without covariance.
    """
    covariance, noise = _covariance(posterior), posterior.noise_std**2
    _, measured = _drawn(posterior, seed)
    m = len(posterior.mean)
    inside = covariance[np.ix_(samples, samples)] + np.diag(noise[samples])
    surprise = (measured - posterior.mean)[:, samples]
    predicted = posterior.mean + surprise @ np.linalg.solve(inside, covariance[samples])
    rest = np.setdiff1d(np.arange(m), samples)
    found = [_correlation(a, b) for a, b in zip(predicted[:, rest], measured[:, rest], strict=True)]
    return _summed_up(found, posterior)


def ceiling(posterior: Posterior, seed: int) -> Forecast:
    """Were the latencies of the M networks known as they are: what noise alone leaves of the ranks.
    Raises ValueError without covariance."""
    found = [_correlation(a, b) for a, b in zip(*_drawn(posterior, seed), strict=True)]
    return _summed_up(found, posterior)


def _summed_up(correlations: list[float], posterior: Posterior) -> Forecast:
    """Of all draws; moved by BETTER where they are of many settings of a model."""
    low, high = np.quantile(correlations, [0.05, 0.95])
    found = np.array([np.mean(correlations), low, high])
    if posterior.sampler is not None:
        found = np.tanh(np.arctanh(np.clip(found, -LARGEST, LARGEST)) + BETTER)
    return Forecast(*map(float, found))


def _drawn(posterior: Posterior, seed: int) -> tuple[FloatArray, FloatArray]:
    """(DRAWS, M) latencies, and one measurement of each."""
    if posterior.sampler is not None:
        return posterior.sampler(DRAWS, seed)
    rng, m = np.random.default_rng(seed), len(posterior.mean)
    truth = posterior.mean + rng.standard_normal((DRAWS, m)) @ _root(_covariance(posterior)).T
    return truth, truth + rng.standard_normal((DRAWS, m)) * posterior.noise_std


def _covariance(posterior: Posterior) -> FloatArray:
    if posterior.covariance is None:
        raise ValueError("a forecast needs the covariance; ask for the posterior with joint=True")
    return posterior.covariance


def _largest(covariance: FloatArray, noise: FloatArray, n: int) -> IntArray:
    """(n,), greedily where the variance is largest. noise: (M,), variances."""
    left, samples = covariance.copy(), np.empty(0, np.intp)
    for _ in range(n):
        variance = np.diag(left).copy()
        variance[samples] = -np.inf
        pick = int(np.argmax(variance))
        samples = np.append(samples, pick)
        left -= np.outer(left[pick], left[pick]) / (left[pick, pick] + noise[pick])
    return samples


def _root(covariance: FloatArray) -> FloatArray:
    """(M, M), whose product with its transpose is the covariance, rounding errors left out."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _correlation(a: FloatArray, b: FloatArray) -> float:
    """Spearman's; 0 where one side is constant, which predicts nothing."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
