"""Sums of kernel times as predictors: what they know before any network, and what networks add."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from predictors import Observations
from predictors.acquisition import ACQUISITIONS, Pool
from predictors.models import kernel_times
from predictors.models.kernel_sum import KernelSumGP


def device(seed: int, kernels: int = 20, networks: int = 60):
    """Kernel times that are known to some per cent, networks made of them, and their latencies, 5 %
    above their sums."""
    rng = np.random.default_rng(seed)
    time_s = 10 ** rng.uniform(-6, -4, kernels)
    counts = rng.integers(0, 4, (networks, kernels)).astype(float)
    std = np.full(kernels, 0.02)
    told_s = time_s * np.exp(std * rng.standard_normal(kernels))
    latency_s = 1.05 * counts @ time_s * np.exp(0.003 * rng.standard_normal(networks))
    sum_s = counts @ told_s
    uncertainty = counts * told_s * std / sum_s[:, None]
    return KernelSumGP.over(sum_s, uncertainty, counts[:, :5]), latency_s


@pytest.mark.parametrize("seed", range(3))
def test_few_networks_take_the_level_out(seed):
    model, latency_s = device(seed)
    errors, widths = [], []
    for n in (0, 2, 8):
        seen = Observations.of_one("d", model.features[:n], latency_s[:n])
        posterior = model.fit(seen).posterior(model.features[10:], "d")
        low_s, high_s = posterior.interval_s()
        errors.append(np.median(np.abs(posterior.latency_s / latency_s[10:] - 1)))
        widths.append(np.median((high_s - low_s) / posterior.latency_s))
        inside = (low_s <= latency_s[10:]) & (latency_s[10:] <= high_s)
        assert inside.mean() > 0.85
    assert 0.03 < errors[0] < 0.07
    assert errors[2] < 0.012
    assert widths[0] > widths[1] > widths[2]


@pytest.mark.parametrize("seed", range(3))
def test_a_noisier_network_moves_the_posterior_less(seed):
    model, latency_s = device(seed)
    slow_s = latency_s.copy()
    slow_s[7] *= 1.1
    moved = []
    for noise_std in (0.0, 0.03, 0.3):
        own = noise_std * (np.arange(8) == 7)
        there, apart = (
            model.fit(Observations.of_one("d", model.features[:8], y[:8], own)).posterior(
                model.features[[7]], "d"
            )
            for y in (latency_s, slow_s)
        )
        moved.append(float(np.abs(apart.mean - there.mean)[0]))
    assert moved == sorted(moved, reverse=True)
    assert moved[2] < 0.5 * moved[0]


def test_no_noise_is_the_same_as_nothing_known_of_it():
    model, latency_s = device(0)
    both = (None, np.zeros(8))
    fitted = (
        model.fit(Observations.of_one("d", model.features[:8], latency_s[:8], n)) for n in both
    )
    first, second = (f.posterior(model.features, "d") for f in fitted)
    np.testing.assert_array_equal(first.mean, second.mean)
    np.testing.assert_array_equal(first.std, second.std)


def test_all_margins_are_those_of_the_joint_posterior():
    model, latency_s = device(3)
    fitted = model.fit(Observations.of_one("d", model.features[:5], latency_s[:5]))
    margins, joint = (fitted.posterior(model.features[5:15], "d", both) for both in (False, True))
    assert joint.covariance.shape == (10, 10)
    np.testing.assert_allclose(joint.std, margins.std, rtol=1e-9)
    np.testing.assert_allclose(joint.mean, margins.mean, rtol=1e-12)
    np.testing.assert_allclose(np.diag(joint.covariance), margins.std**2, rtol=1e-9)


def test_a_belief_is_the_joint_posterior():
    model, latency_s = device(3)
    fitted = model.fit(Observations.of_one("d", model.features[:5], latency_s[:5]))
    few = model.features[5:15]
    belief, joint = fitted.belief("d"), fitted.posterior(few, "d", joint=True)
    np.testing.assert_allclose(belief.covariance(few, few), joint.covariance, atol=1e-12)
    np.testing.assert_allclose(belief.variance(few), joint.std**2, rtol=1e-9)
    assert belief.noise_variance == pytest.approx(joint.noise_std[0] ** 2)


@pytest.mark.parametrize("name", ACQUISITIONS)
@pytest.mark.parametrize("n", [0, 5])
def test_every_acquisition_works_with_its_belief(name, n):
    model, latency_s = device(3)
    belief = model.fit(Observations.of_one("d", model.features[:n], latency_s[:n])).belief("d")
    pool = Pool(model.features, seed=0, measured=np.arange(n))
    rows = ACQUISITIONS[name](pool, (), 6, prior=belief)
    assert len({*rows.tolist(), *range(n)}) == 6 + n


def test_a_network_of_kernels_that_are_not_known_is_chosen_first():
    """Network 30 alone has a kernel whose time is known to 50 %."""
    model, latency_s = device(3)
    features = np.column_stack([model.features[:, :-5], np.zeros(60), model.features[:, -5:]])
    features[30, 1 + model.kernels] = 0.5
    odd = replace(model, features=features, kernels=model.kernels + 1)
    belief = odd.fit(Observations.of_one("d", features[:5], latency_s[:5])).belief("d")
    pool = Pool(features, seed=0, measured=np.arange(5))
    assert ACQUISITIONS["variance"](pool, (), 1, prior=belief).tolist() == [30]


def test_a_kernel_that_was_never_timed_has_a_time_and_an_interval():
    rng = np.random.default_rng(0)
    work, moved = 10 ** rng.uniform(3, 7, 60), 10 ** rng.uniform(3, 5, 60)
    features = np.log(np.column_stack([work, moved]))
    time_s = work / 2e10 + moved / 5e9 + 1e-7
    found = kernel_times.predicted(features[:40], time_s[:40], features[40:])
    errors = np.abs(np.log(time_s[40:]) - found.mean)
    assert np.median(errors) < 0.1
    assert (errors < 2.5 * found.std).mean() > 0.8
    far = kernel_times.predicted(features[:40], time_s[:40], features[40:] + 20.0)
    assert (far.std > found.std).all()


def test_the_most_telling_kernels_are_unlike_each_other_and_unlike_those_that_are_known():
    alike = np.random.default_rng(0).normal(scale=0.01, size=(6, 3))
    features = alike + np.array([[0.0], [5.0]]).repeat(3, axis=0)
    shares = np.full((4, 6), 1 / 6)
    chosen = kernel_times.most_telling(features, shares, (), 6)
    assert sorted(chosen) == list(range(6))
    assert {place // 3 for place in chosen[:2]} == {0, 1}
    assert kernel_times.most_telling(features, shares, (), 2) == chosen[:2]
    (after,) = kernel_times.most_telling(features, shares, (0, 1, 2), 1)
    assert after // 3 == 1


def test_of_two_kernels_that_are_alike_the_one_that_is_called_more_is_more_telling():
    features, shares = np.ones((3, 2)), np.array([[0.2, 0.5, 0.3]])
    assert kernel_times.most_telling(features, shares, (), 3) == [1, 2, 0]
