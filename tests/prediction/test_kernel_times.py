"""Sums of kernel times: plain arrays, no store and no device."""

from __future__ import annotations

import numpy as np
import pytest

from farm.prediction.kernel_times import Calls, KernelTime, KernelTimes, sums

CALLED = Calls(
    {"a": "", "b": "", "c": ""}, np.array([[2, 1, 0], [0, 0, 3], [np.nan] * 3, [1, 0, 1]])
)


def known(**times: KernelTime) -> KernelTimes:
    return KernelTimes(times, (0.5, 0.1), 0.0)


def test_a_sum_is_of_calls_and_the_entry_and_says_what_is_uncertain_of_it() -> None:
    found = sums(CALLED, known(a=KernelTime(1.0, 0.01, True), b=KernelTime(3.0, 0.2, False)))
    assert found.latency_s[0] == pytest.approx(2 * 1.0 + 3.0 + 0.5)
    shares = np.array([2 * 1.0 * 0.01, 3.0 * 0.2, 0.0, 0.1]) / 5.5
    assert found.uncertainty[0, :4] == pytest.approx(shares)
    assert found.uncertainty[0, 4] > 0


def test_networks_without_a_plan_or_a_time_have_no_sum() -> None:
    times = known(a=KernelTime(1.0, 0.01, True), b=KernelTime(3.0, 0.2, False))
    assert np.isfinite(sums(CALLED, times).latency_s).tolist() == [True, False, False, False]
