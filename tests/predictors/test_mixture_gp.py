"""What the mixture promises beyond the protocol: known devices, spikes, published tables."""

from __future__ import annotations

import numpy as np
import pytest

from predictors import FloatArray, Observations, metrics
from predictors.encodings.normalisation import TrainingRows
from predictors.models import evidence
from predictors.models.mixture_gp import GRID, MixtureGP, _excess, _hypotheses

SIZE = 4


@pytest.fixture
def model(pool: FloatArray) -> MixtureGP:
    """Three references, each of which runs one of the pool's counts; structure is no help."""
    rows, noise = TrainingRows.every(pool), np.random.default_rng(3).normal(size=pool.shape)
    real = np.sqrt(1 + pool[:, :3])
    return MixtureGP.over(real, np.sqrt(pool[:, [SIZE]]), noise, rows, np.full(3, 0.3))


def observe(model: MixtureGP, rows: list[int], latency_s: FloatArray) -> Observations:
    device = np.zeros(len(rows), np.intp)
    return Observations(model.features[rows], device, latency_s[rows], ("target",))


def ranked(model: MixtureGP, rows: list[int], seen_s: FloatArray, true_s: FloatArray) -> float:
    posterior = model.fit(observe(model, rows, seen_s)).posterior(model.features, "target")
    rho = metrics.spearman(posterior.mean, true_s)
    assert rho is not None
    return rho


def test_a_device_like_a_known_one_needs_three_samples(model: MixtureGP, pool: FloatArray) -> None:
    latency_s = 3e-3 * (1 + pool[:, 1])
    rows = [int(np.argmin(pool[:, 1])), int(np.argmax(pool[:, 1])), 17]
    assert ranked(model, rows, latency_s, latency_s) > 0.95


def test_a_device_between_known_ones_is_found(model: MixtureGP, pool: FloatArray) -> None:
    latency_s = 1e-3 * (np.sqrt(1 + pool[:, 0]) + np.sqrt(1 + pool[:, 2])) ** 2
    assert ranked(model, list(range(12)), latency_s, latency_s) > 0.95


def test_spikes_are_not_believed(model: MixtureGP, pool: FloatArray) -> None:
    """Two of twelve samples are three times too slow; a normal likelihood would follow them."""
    latency_s = 1e-3 * (1 + pool[:, 1])
    spiky = latency_s.copy()
    spiky[[2, 9]] *= 3
    rows = list(range(12))
    clean, spoilt = (ranked(model, rows, y, latency_s) for y in (latency_s, spiky))
    assert spoilt > clean - 0.05


def test_a_spike_gets_more_noise_and_an_ordinary_sample_does_not() -> None:
    residuals = np.array([0.1, -0.1, 0.05, 0.0, 0.1, 6.0, -0.05, 0.02])[:, None]
    excess = _excess(0.1 * np.eye(8), 0.02, residuals, np.zeros(1))
    assert excess[5] > 20
    assert np.delete(excess, 5).max() < 1.5


def share_of_spikes(model: MixtureGP, draws: int, tail: float) -> float:
    """Mean evidence for spikes in 30 samples drawn from a grid point, with Student or normal
    noise."""
    view, point, shares = model.view(model.features[:30]), GRID[40], []
    kernels = view.kernels(view)
    signal = np.tensordot(point.weights, kernels, 1)
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        noise = np.sqrt(point.noise) * rng.standard_t(tail, 30)
        drawn = rng.multivariate_normal(np.zeros(30), signal) + noise
        found = _hypotheses(kernels, drawn[:, None], np.zeros(1))
        shares.append(sum(float(h.weight.sum()) for h in found if h.index >= len(GRID)))
    return float(np.mean(shares))


def test_spikes_are_assumed_where_there_are_some(model: MixtureGP) -> None:
    normal, heavy = (share_of_spikes(model, draws=10, tail=t) for t in (1e6, 2.0))
    assert normal < 0.5
    assert heavy > 0.75


def test_diagonals_are_those_of_the_kernels(model: MixtureGP) -> None:
    view = model.view(model.features[:9])
    expected = np.diagonal(view.kernels(view), axis1=1, axis2=2)
    np.testing.assert_allclose(view.diagonals(), expected, atol=1e-9)
    prior = np.diag(model.covariance(model.features[:9], model.features[:9]))
    np.testing.assert_allclose(model.variance(model.features[:9]), prior)


def test_components_are_covariances(model: MixtureGP) -> None:
    view = model.view(model.features[:50])
    for matrix in view.kernels(view):
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
        assert np.linalg.eigvalsh(matrix).min() > -1e-8


def test_negligible_pairs_are_dropped_together_at_most() -> None:
    rng = np.random.default_rng(0)
    residuals = rng.normal(size=(10, 7))
    kept = evidence.average(lambda t: (1 + t) * np.eye(10), 5, residuals, np.zeros(7))
    every = np.stack(
        [evidence.Conditioned.on((1 + t) * np.eye(10), residuals).log_evidence() for t in range(5)]
    )
    weights = evidence.softmax(every)
    lost = weights.sum() - sum(weights[h.index, h.columns].sum() for h in kept)
    assert 0 < lost < evidence.NEGLIGIBLE
    assert sum(h.weight.sum() for h in kept) == pytest.approx(1.0)


def test_collapsing_hypotheses_changes_nothing() -> None:
    """One quadratic form against the moments of all hypotheses, one by one."""
    rng = np.random.default_rng(4)
    points, samples, scales = rng.normal(size=(9, 4)), rng.normal(size=(5, 4)), np.array([0.5, 2.0])
    functions, residuals = rng.normal(size=(9, 3)), rng.normal(size=(5, 6))
    components = rng.uniform(0.1, 1, (4, 2))

    def kernels(a: FloatArray, b: FloatArray) -> FloatArray:
        return np.stack([a @ b.T, np.exp(-((a[:, None] - b[None]) ** 2).sum(2))])

    def covariance(t: int) -> FloatArray:
        return np.tensordot(components[t], kernels(samples, samples), 1) + 0.1 * np.eye(5)

    found = evidence.average(covariance, 4, residuals, np.zeros(6))
    means, covariances = [], []
    for h in found:
        scale, between = scales[h.columns // 3], kernels(samples, points)
        mean, reduction = h.conditioned.explain(np.tensordot(components[h.index], between, 1))
        own = np.tensordot(components[h.index], kernels(points, points), 1)
        means.append(scale * (functions[:, h.columns % 3] + mean))
        square = h.weight @ scale**2 / h.weight.sum()
        covariances.append(square * (own - reduction.T @ reduction))
    weights = [h.weight for h in found]
    expected_mean, expected = evidence.moments(weights, means, covariances)
    collapsed = evidence.Collapsed.of(found, components, scales, 3)
    joint = kernels(points, points)
    mean, covariance_ = collapsed.predict(functions, kernels(samples, points), joint)
    np.testing.assert_allclose(mean, expected_mean)
    np.testing.assert_allclose(covariance_, expected, atol=1e-10)
    margins = np.diagonal(joint, axis1=1, axis2=2)
    _, variance = collapsed.predict(functions, kernels(samples, points), margins)
    np.testing.assert_allclose(variance, np.diag(expected), atol=1e-10)
