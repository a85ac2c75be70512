"""Forecasts against what then happens, where the model is right by construction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from predictors import FloatArray, Observations, Posterior, metrics
from predictors.forecast import expected_spearman, of_samples
from predictors.models.gp import GaussianProcess

SIZE = 4


def drawn(pool: FloatArray, seed: int, noise_std: float) -> tuple[GaussianProcess, FloatArray]:
    """A model, and latencies (N,) drawn from one of its grid points."""
    model, rng = GaussianProcess.over(pool, SIZE), np.random.default_rng(seed)
    kernels = np.tensordot([1.0, 0.3, 0.03], model.kernels.matrices(pool, pool), 1)
    relative = rng.multivariate_normal(np.zeros(len(pool)), kernels)
    relative += model.size(pool) + noise_std * rng.normal(size=len(pool))
    return model, np.exp(-6 + 0.3 * relative)


def observed(pool: FloatArray, latency_s: FloatArray, n: int) -> Observations:
    return Observations(pool[:n], np.zeros(n, np.intp), latency_s[:n], ("a",))


def posterior(covariance: FloatArray, noise_std: float) -> Posterior:
    m = len(covariance)
    return Posterior(np.zeros(m), np.sqrt(np.diag(covariance)), np.full(m, noise_std), covariance)


@pytest.mark.slow
def test_a_forecast_holds_what_is_then_measured(pool: FloatArray) -> None:
    """With 12 samples known: the correlation after 6 more lies in 90 % intervals."""
    inside = []
    for seed in range(8):
        model, latency_s = drawn(pool, seed, noise_std=0.2)
        fitted = model.fit(observed(pool, latency_s, 12))
        forecast = expected_spearman(fitted, pool[12:], "a", more=6, seed=seed)
        seen = observed(pool, latency_s, 18)
        mean = model.fit(seen).posterior(pool[18:], "a").mean
        rho = metrics.spearman(mean, latency_s[18:])
        assert rho is not None
        inside.append(forecast.low - 0.03 <= rho <= forecast.high + 0.03)
    assert np.mean(inside) >= 0.75


def test_more_samples_are_worth_more_each_time(pool: FloatArray) -> None:
    model, latency_s = drawn(pool, 0, noise_std=0.1)
    fitted = model.fit(observed(pool, latency_s, 4))
    means = [expected_spearman(fitted, pool[4:], "a", more, seed=0).mean for more in (0, 3, 12, 40)]
    assert means == sorted(means)
    assert means[-1] > means[0] + 0.02


def test_a_mixture_is_forecast_by_its_draws() -> None:
    """What it draws decides, not the normal that sums it up; and it is better than it says."""

    def alike(draws: int, seed: int) -> tuple[FloatArray, FloatArray]:
        noise = 0.3 * np.random.default_rng(seed).normal(size=(draws, 50))
        return np.zeros((draws, 50)), np.linspace(-1, 1, 50) + noise

    plain = replace(posterior(np.eye(50), 1.0), mean=np.linspace(-1, 1, 50))
    none = np.empty(0, np.intp)
    apart, drawn = (of_samples(p, none, 0) for p in (plain, replace(plain, sampler=alike)))
    assert drawn.low > apart.high
    assert drawn.low < drawn.mean < drawn.high < 1


def test_noise_bounds_what_can_be_reached() -> None:
    covariance = np.eye(50)
    samples = np.arange(20)
    assert abs(of_samples(posterior(covariance, 0.1), samples, 0).mean) < 0.1
    shared = np.outer(np.linspace(-1, 1, 50), np.linspace(-1, 1, 50))
    quiet, loud = (of_samples(posterior(shared, s), samples, 0).mean for s in (0.001, 2.0))
    assert quiet > 0.99
    assert loud < 0.5


def test_a_constant_device_cannot_be_ranked() -> None:
    assert of_samples(posterior(np.zeros((9, 9)), 0.0), np.empty(0, np.intp), 0).mean == 0.0


def test_a_forecast_needs_the_covariance() -> None:
    apart = Posterior(np.zeros(5), np.ones(5), np.ones(5))
    with pytest.raises(ValueError, match="joint=True"):
        of_samples(apart, np.array([0]), 0)


def test_more_samples_than_candidates_are_refused(pool: FloatArray) -> None:
    fitted = GaussianProcess.over(pool, SIZE).fit(Observations.none(pool.shape[1], ("a",)))
    with pytest.raises(ValueError, match="`more` must be 0 to 7, got 8"):
        expected_spearman(fitted, pool[:10], "a", more=8, seed=0)
