"""What the mixture promises beyond the protocol: known devices, spikes, published tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from predictors import FloatArray, Observations, metrics
from predictors.encodings.normalisation import TrainingRows
from predictors.models import evidence
from predictors.models.mixture_gp import MixtureGP

SIZE = 4


@pytest.fixture
def model(pool: FloatArray) -> MixtureGP:
    """Three references, each of which runs one of the pool's counts; structure is no help."""
    rows, noise = TrainingRows.every(pool), np.random.default_rng(3).normal(size=pool.shape)
    real = np.sqrt(1 + pool[:, :3])
    analytic = np.sqrt(pool[:, [SIZE]])
    return MixtureGP.over(real, analytic, noise, rows, np.full(3, 0.3), np.full(1, 0.3))


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


def both_scales(pool: FloatArray) -> FloatArray:
    """Latencies of which eight samples leave both scales a share."""
    return 1e-3 * (1 + pool[:, 1]) * np.exp(0.05 * np.random.default_rng(0).normal(size=len(pool)))


def test_a_device_that_adds_up_is_told_from_few_samples(model: MixtureGP, pool: FloatArray) -> None:
    """Of what two references run: a sum of latencies, which square roots are not. A noisy device is
    not taken for one."""
    latency_s = 1e-3 * (1 + pool[:, 0] + 2 * pool[:, 2])
    noisy_s = both_scales(pool)
    sums, noisy = (
        model.fit(observe(model, list(range(30)), y)).targets[0] for y in (latency_s, noisy_s)
    )
    assert [part.samples.scale.sums for part in sums.parts] == [True]
    assert noisy.parts[0].share > 0.9
    assert not noisy.parts[0].samples.scale.sums
    roots = replace(model, sums=None)
    errors = []
    for one in (model, roots):
        found = one.fit(observe(one, list(range(12)), latency_s)).posterior(
            model.features, "target"
        )
        errors.append(np.abs(found.mean - np.log(latency_s)).mean())
    assert errors[0] < errors[1] / 3


def test_densities_on_two_scales_are_of_the_same_latencies(model: MixtureGP) -> None:
    """How fast deviations go with the logarithm of latency, but for one factor that both share."""
    latency, step = np.array([0.02, 0.5, 1.0, 7.0]), 1e-6
    assert model.sums is not None
    factors = [
        (scale.relative(latency * np.exp(step)) - scale.relative(latency))
        / step
        / np.exp(scale.log_slope(latency))
        for scale in (model.roots, model.sums)
    ]
    np.testing.assert_allclose(factors, 1 / (2 * model.spread), rtol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_a_noisier_sample_moves_the_posterior_less(model: MixtureGP, seed: int) -> None:
    """One of ten samples is 10 % too slow: the more it is said to be off, the less it counts."""
    rng = np.random.default_rng(seed)
    rows = [*rng.permutation(199)[:9].tolist(), 199]
    latency_s = 1e-3 * model.features[:, 1] ** 2
    slow_s = np.where(np.arange(200) == 199, 1.1, 1.0) * latency_s
    moved, std = [], []
    for noise_std in (0.0, 0.03, 0.3):
        own = noise_std * (np.array(rows) == 199)
        there, apart = (
            model.fit(replace(observe(model, rows, y), noise_std=own)).posterior(
                model.features[[199]], "target"
            )
            for y in (latency_s, slow_s)
        )
        moved.append(float(np.abs(apart.mean - there.mean)[0]))
        std.append(float(there.std[0]))
    assert moved == sorted(moved, reverse=True)
    assert moved[2] < 0.5 * moved[0]
    assert std == sorted(std)


@pytest.mark.parametrize("spiky", [False, True])
def test_many_samples_need_not_be_weighed_on_every_setting(
    model: MixtureGP, pool: FloatArray, monkeypatch: pytest.MonkeyPatch, spiky: bool
) -> None:
    """What the first samples leave standing says the same as everything that there is."""
    rng, rows = np.random.default_rng(0), list(range(100))
    seen_s = 1e-3 * (1 + pool[:, 1] + pool[:, 2]) * np.exp(0.02 * rng.normal(size=200))
    if spiky:
        seen_s[rows[::20]] *= 2
    few = model.fit(observe(model, rows, seen_s)).posterior(model.features, "target")
    monkeypatch.setattr("predictors.models.weighing.WEIGHED", 1000)
    every = model.fit(observe(model, rows, seen_s)).posterior(model.features, "target")
    apart = np.abs(few.mean - every.mean) / every.std
    assert np.sqrt(np.mean(apart**2)) < 0.3
    assert 0.8 < float(np.median(few.std / every.std)) < 1.25


def test_diagonals_are_those_of_the_kernels(model: MixtureGP) -> None:
    view = model.roots.view(model.features[:9])
    expected = np.diagonal(view.kernels(view), axis1=1, axis2=2)
    np.testing.assert_allclose(view.diagonals(), expected, atol=1e-9)
    prior = np.diag(model.covariance(model.features[:9], model.features[:9]))
    np.testing.assert_allclose(model.variance(model.features[:9]), prior)


def test_a_belief_is_the_joint_posterior(model: MixtureGP, pool: FloatArray) -> None:
    fitted = model.fit(observe(model, list(range(8)), both_scales(pool)))
    assert len(fitted.targets[0].parts) == 2
    belief, few = fitted.belief("target"), model.features[20:40]
    _, expected = fitted.targets[0].predict(few, True)
    np.testing.assert_allclose(belief.covariance(few, few), expected, atol=1e-10)
    np.testing.assert_allclose(belief.covariance(few[:3], few), expected[:3], atol=1e-10)
    np.testing.assert_allclose(belief.variance(few), np.diag(expected), atol=1e-10)


def test_draws_do_not_mind_that_shares_are_rounded(model: MixtureGP, pool: FloatArray) -> None:
    fitted = model.fit(observe(model, list(range(8)), both_scales(pool)))
    target = fitted.targets[0]
    some = target.parts[0]
    for parts in ((replace(some, share=1 + 1e-15),), target.parts):
        drawn = replace(target, parts=parts).draw(model.features[:3], 50, np.random.default_rng(0))
        assert [each.shape for each in drawn] == [(50, 3), (50, 3), (50,)]


def test_draws_are_of_the_mixture(model: MixtureGP, pool: FloatArray) -> None:
    """Their mean and spread are those of the posterior, but for how coarsely hypotheses are drawn;
    a measurement varies more."""
    fitted = model.fit(observe(model, list(range(8)), both_scales(pool)))
    assert len(fitted.targets[0].parts) == 2
    posterior = fitted.posterior(model.features[20:60], "target", joint=True)
    assert posterior.sampler is not None
    latency, measured = posterior.sampler(2000, 0)
    assert latency.shape == measured.shape == (2000, 40)
    off = (latency.mean(0) - posterior.mean) / posterior.std
    assert np.abs(off).max() < 0.5
    assert 0.7 < np.median(latency.std(0) / posterior.std) < 1.3
    assert (measured.std(0) > latency.std(0)).all()
    np.testing.assert_array_equal(measured, posterior.sampler(2000, 0)[1])


def test_is_least_sure_where_devices_that_it_may_be_like_disagree(
    model: MixtureGP, pool: FloatArray
) -> None:
    """Samples on which two known devices agree leave it open which one this is like."""
    apart = np.abs(np.sqrt(1 + pool[:, 0]) - np.sqrt(1 + pool[:, 1]))
    alike = np.argsort(apart)[:8].tolist()
    belief = model.fit(observe(model, alike, 1e-3 * (1 + pool[:, 0]))).belief("target")
    left = belief.variance(model.features)
    assert left[np.argsort(apart)[-20:]].min() > 2 * left[alike].max()


def test_components_are_covariances(model: MixtureGP) -> None:
    view = model.roots.view(model.features[:50])
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

    scale = np.repeat(scales, 4)
    covariances = np.stack([covariance(t) for t in range(4)] * 2)
    each = residuals.reshape(5, 2, 3).transpose(1, 0, 2)[[0] * 4 + [1] * 4]
    inverse = np.linalg.inv(covariances)
    weight = evidence.without_negligible(evidence.softmax(rng.normal(scale=4, size=(8, 3))))
    means, own = [], []
    between, joint = kernels(samples, points), kernels(points, points)
    for inside, r, parts, s in zip(inverse, each, [*components] * 2, scale, strict=True):
        cross = np.tensordot(parts, between, 1)
        means.append(s * (functions + cross.T @ inside @ r))
        own.append(s**2 * (np.tensordot(parts, joint, 1) - cross.T @ inside @ cross))
    expected_mean, expected = evidence.moments(list(weight), means, own)
    components = np.tile(components, (2, 1))
    collapsed = evidence.Collapsed.of(
        evidence.Weighed(weight, inverse, inverse @ each, components, scale, np.zeros(8))
    )
    mean, covariance_ = collapsed.predict(functions, between, joint)
    np.testing.assert_allclose(mean, expected_mean)
    np.testing.assert_allclose(covariance_, expected, atol=1e-10)
    margins = np.diagonal(joint, axis1=1, axis2=2)
    _, variance = collapsed.predict(functions, between, margins)
    np.testing.assert_allclose(variance, np.diag(expected), atol=1e-10)


@pytest.mark.parametrize("row", ["smallest", "largest", "middle"])
def test_one_sample_says_little_wherever_it_is(
    model: MixtureGP, pool: FloatArray, row: str
) -> None:
    latency_s = 1e-3 * (1 + pool[:, 1])
    order = np.argsort(latency_s)
    chosen = {"smallest": order[0], "largest": order[-1], "middle": order[100]}[row]
    posterior = model.fit(observe(model, [int(chosen)], latency_s)).posterior(
        model.features, "target"
    )
    assert metrics.coverage(*posterior.interval_s(), latency_s) == pytest.approx(1.0, abs=0.05)


def test_of_two_that_say_the_same_of_the_samples_the_one_with_their_spread_is_believed() -> None:
    """Else the even mixture of both is, which is .7 of either."""
    rng = np.random.default_rng(5)
    noise, root = rng.normal(size=(200, 6)), rng.normal(size=200)
    roots = np.column_stack([root, np.append(root[:6], rng.permutation(root[6:]))])
    none, rows, spreads = np.empty((200, 0)), TrainingRows.every(roots), np.array([0.1, 0.3])
    model = MixtureGP.over(roots, none, noise, rows, spreads, np.empty(0))
    seen_s = 1e-3 * (1 + 0.1 * root) ** 2
    assert ranked(model, list(range(6)), seen_s, root) > 0.95


def test_columns_that_rule_no_device_are_no_mean_functions(pool: FloatArray) -> None:
    rows, spread = TrainingRows.every(pool), np.full(3, 0.3)
    real, counts = np.sqrt(1 + pool[:, :3]), pool[:, 3:]
    costs, parts = (
        MixtureGP.over(real, counts, pool, rows, spread, np.full(ruling, 0.3))
        for ruling in (counts.shape[1], 0)
    )
    without = MixtureGP.over(real, counts[:, :0], pool, rows, spread, np.empty(0))
    means = [model.roots.view(model.features).means for model in (parts, without)]
    np.testing.assert_allclose(*means)
    assert costs.roots.view(costs.features).means.shape[1] > means[0].shape[1] + counts.shape[1]
    assert parts.roots.known.analytic == counts.shape[1]
