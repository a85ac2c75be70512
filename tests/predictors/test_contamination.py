"""Which samples were disturbed: against every set by brute force, and on made-up devices."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from predictors import FloatArray
from predictors.models import contamination
from predictors.models.contamination import DEVICES, RATE, SPIKE_MEAN, SPIKE_STD, Given, Setting

UNIT = 0.05


def setting(samples: FloatArray, noise: float = 0.02) -> Setting:
    """Two amplitudes, two mean functions, samples that lie on a line but for noise."""
    x = np.linspace(-1, 1, len(samples))
    covariance = np.outer(x, x) + 1 + noise * np.eye(len(x))
    means = np.column_stack([x, np.zeros(len(x))])
    amplitude, log_prior = np.array([0.5, 2.0]), np.log([[0.3, 0.8], [0.7, 0.2]])
    return Setting(np.stack([covariance] * 2), amplitude, log_prior, UNIT, samples, means)


def density(case: Setting, spikes: tuple[int, ...]) -> float:
    """Log evidence times prior of one set, by dense formulas."""
    n, marked = len(case.samples), np.isin(np.arange(len(case.samples)), spikes)
    total = []
    settings = zip(case.covariance, case.amplitude, case.log_prior, strict=True)
    for covariance, amplitude, log_prior in settings:
        own = amplitude**2 * covariance + np.diag(marked * (SPIKE_STD / UNIT) ** 2)
        for mean, likely in zip(case.means.T, log_prior, strict=True):
            centre = amplitude * mean + marked * SPIKE_MEAN / UNIT
            seen = stats.multivariate_normal(centre, own).logpdf(case.samples)
            total.append(seen + likely)
    prior = DEVICES * RATE ** len(spikes) * (1 - RATE) ** (n - len(spikes))
    prior += (1 - DEVICES) * (not spikes)
    return float(np.logaddexp.reduce(total) + np.log(prior))


@pytest.fixture
def spiky() -> Setting:
    """Eight samples; numbers 2 and 6 are spikes."""
    noise = np.random.default_rng(0).normal(size=8)
    samples = np.linspace(-1, 1, 8) + 0.1 * noise
    samples[[2, 6]] += 0.2 / UNIT
    return setting(samples)


@pytest.mark.parametrize("spikes", [(), (2,), (0, 5, 7)])
def test_the_evidence_of_a_set_is_its_density(spiky: Setting, spikes: tuple[int, ...]) -> None:
    assert Given.of(spiky, spikes).total == pytest.approx(density(spiky, spikes))


def test_one_more_spike_is_what_conditioning_on_it_says(spiky: Setting) -> None:
    more = Given.of(spiky, (2,)).with_one_more()
    expected = [density(spiky, tuple(sorted({2, i}))) for i in range(8) if i != 2]
    np.testing.assert_allclose(np.delete(more, 2), expected)
    assert more[2] == -np.inf


def test_the_search_finds_the_best_of_all_sets(spiky: Setting) -> None:
    every = [s for k in range(5) for s in combinations(range(8), k)]
    best = max(every, key=lambda s: density(spiky, s))
    assert best == (2, 6)
    assert best in contamination.search(spiky)


def test_clean_samples_are_believed() -> None:
    case = setting(np.linspace(-1, 1, 8))
    sets = contamination.search(case)
    totals = np.exp([Given.of(case, s).total for s in sets])
    assert sets[0] == ()
    assert totals[0] > 0.9 * totals.sum()


def test_many_clear_spikes_are_found_together() -> None:
    rng = np.random.default_rng(1)
    samples = np.linspace(-1, 1, 90) + 0.1 * rng.normal(size=90)
    spikes = tuple(range(0, 90, 9))
    samples[list(spikes)] += 0.25 / UNIT
    assert spikes in contamination.search(setting(samples))


def test_of_many_samples_one_set_is_found() -> None:
    """Three spikes among 90: far below RATE, which is nevertheless not taken for granted."""
    rng = np.random.default_rng(1)
    samples = np.linspace(-1, 1, 90) + 0.1 * rng.normal(size=90)
    assert contamination.likeliest(setting(samples)) == ()
    samples[[7, 40, 71]] += 0.25 / UNIT
    assert contamination.likeliest(setting(samples)) == (7, 40, 71)


def test_a_spike_seen_makes_more_of_them_likely() -> None:
    assert contamination.expected_rate(10, 0) < DEVICES * RATE
    assert contamination.expected_rate(10, 1) == pytest.approx(RATE)
    assert contamination.expected_rate(10, 3) > RATE


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.2])
def test_noise_holds_what_its_interval_says(rate: float) -> None:
    """Drawn from the noise that it stands for."""
    rng = np.random.default_rng(2)
    half = 1.96 * contamination.noise_scale(0.1, rate, UNIT)
    drawn = 0.1 * rng.normal(size=100_000)
    spikes = rng.random(100_000) < rate
    drawn[spikes] += rng.normal(SPIKE_MEAN / UNIT, SPIKE_STD / UNIT, int(spikes.sum()))
    assert np.mean(np.abs(drawn) < half) == pytest.approx(0.95, abs=0.005)
