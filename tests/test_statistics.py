"""The statistic of record and its interval."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm import statistics

seconds = st.floats(1e-6, 10.0)
rounds = st.lists(st.lists(seconds, min_size=1, max_size=6), min_size=1, max_size=7)


def test_is_the_median_of_the_rounds_minima():
    assert statistics.latency([[3.0, 1.0], [2.0], [9.0, 5.0, 7.0]]) == 2.0


def test_one_disturbed_round_does_not_move_it():
    quiet = [[1.0, 1.1], [1.0, 1.2], [1.0, 1.0]]
    assert statistics.latency([*quiet, [50.0, 60.0]]) == statistics.latency(quiet)


@given(rounds)
def test_the_interval_holds_the_statistic_and_lies_within_the_minima(samples):
    low, high = statistics.interval(samples)
    minima = [min(row) for row in samples]
    tolerance = 1e-12 * max(minima)
    assert min(minima) - tolerance <= low <= statistics.latency(samples) + tolerance
    assert statistics.latency(samples) - tolerance <= high <= max(minima) + tolerance


@given(rounds, st.floats(1e-3, 1e3))
def test_scales_with_the_unit(samples, factor):
    scaled = [[value * factor for value in row] for row in samples]
    expected = factor * np.array(statistics.interval(samples))
    np.testing.assert_allclose(statistics.interval(scaled), expected, rtol=1e-9)


@pytest.mark.parametrize("samples", [[], [[]], [[1.0], []]])
def test_a_round_without_a_sample_is_refused(samples):
    with pytest.raises(ValueError, match="every round must hold a sample"):
        statistics.latency(samples)
