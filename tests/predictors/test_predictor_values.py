from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from farm.core.errors import UnknownName
from predictors import Observations, Posterior


def observed(latency_s: list[float], device: list[int] | None = None) -> Observations:
    n = len(latency_s)
    index = np.zeros(n, np.intp) if device is None else np.array(device, np.intp)
    return Observations(np.ones((n, 2)), index, np.array(latency_s), ("a", "b"))


@pytest.mark.parametrize("bad", [0.0, -1e-3, np.nan, np.inf])
def test_a_latency_is_positive_and_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="finite and positive, got"):
        observed([1e-3, bad])


def test_features_are_finite() -> None:
    with pytest.raises(ValueError, match="`features` must be finite"):
        Observations(np.array([[np.nan]]), np.zeros(1, np.intp), np.ones(1), ("a",))


@pytest.mark.parametrize("index", [-1, 2])
def test_a_device_index_is_within_the_names(index: int) -> None:
    with pytest.raises(ValueError, match="index the 2 names"):
        observed([1e-3], [index])


def test_shapes_have_equal_length() -> None:
    with pytest.raises(ValueError, match="must have equal n"):
        Observations(np.ones((3, 2)), np.zeros(2, np.intp), np.ones(2), ("a",))


@pytest.mark.parametrize("bad", [-0.1, np.nan, np.inf])
def test_noise_is_finite_and_not_negative(bad: float) -> None:
    with pytest.raises(ValueError, match="`noise_std` must be finite and not negative, got"):
        replace(observed([1e-3, 2e-3]), noise_std=np.array([0.0, bad]))


def test_noise_is_of_each_entry() -> None:
    with pytest.raises(ValueError, match=r"`noise_std` must be \(2,\), got \(1,\)"):
        replace(observed([1e-3, 2e-3]), noise_std=np.zeros(1))
    assert observed([1e-3, 2e-3]).own_noise_std.tolist() == [0, 0]


def test_an_unknown_device_is_offered_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="no device 'c'; known: a, b"):
        observed([1e-3]).index("c")


def test_an_interval_holds_what_it_says() -> None:
    posterior = Posterior(np.array([-5.0]), np.array([0.3]), np.array([0.4]))
    low_s, high_s = posterior.interval_s(0.9)
    measured = stats.norm(-5.0, 0.5)
    inside = measured.cdf(np.log(high_s)) - measured.cdf(np.log(low_s))
    assert inside == pytest.approx(0.9)
    assert posterior.latency_s == pytest.approx(np.exp(-5.0))
