"""The statistic of record and its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.measurement import estimator

seconds = st.floats(1e-6, 10.0)
sessions = st.lists(st.lists(seconds, min_size=1, max_size=6), min_size=1, max_size=7)


def test_a_block_says_the_lower_quartile_of_its_samples():
    assert estimator.of_block([5.0]) == 5.0
    assert estimator.of_block([4.0, 1.0, 2.0, 3.0, 9.0]) == 2.0
    rng = np.random.default_rng(0)
    for size in range(2, 30):
        samples = rng.exponential(1.0, size)
        assert estimator.of_block(samples.tolist()) == pytest.approx(np.quantile(samples, 0.25))


def test_a_block_bears_it_that_half_of_its_samples_are_disturbed():
    quiet = [1.0 + 0.001 * i for i in range(10)]
    disturbed = [value if i % 2 else 50.0 for i, value in enumerate(quiet)]
    assert estimator.of_block(disturbed) == pytest.approx(estimator.of_block(quiet), rel=0.005)


def test_is_the_median_of_what_blocks_say():
    assert estimator.latency([[3.0, 1.0], [2.0], [9.0, 5.0]]) == 3.0


def test_blocks_that_were_slowed_down_do_not_move_it():
    quiet = [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    assert estimator.latency([*quiet, [50.0, 60.0, 1.1], [70.0]]) == estimator.latency(quiet)


@given(sessions)
def test_the_interval_holds_the_statistic(blocks):
    low, high = estimator.interval(blocks)
    assert 0 <= low <= estimator.latency(blocks) <= high


@given(sessions.filter(lambda rows: sum(map(len, rows)) > 1), st.floats(1e-3, 1e3))
def test_scales_with_the_unit(blocks, factor):
    scaled = [[value * factor for value in row] for row in blocks]
    expected = factor * np.array(estimator.interval(blocks))
    np.testing.assert_allclose(estimator.interval(scaled), expected, rtol=1e-6, atol=1e-12)


def test_one_block_says_nothing_of_its_spread():
    assert estimator.interval([[2.0]]) == (0.0, math.inf)


def test_sessions_that_differ_widen_it_more_than_blocks_that_do():
    """A network may be slower for the life of a process: more blocks of it are no more evidence."""
    levels = 1 + 0.1 * np.linspace(-1, 1, 32)
    apart = estimator.interval(levels.reshape(8, 4).tolist())
    mixed = estimator.interval(levels.reshape(4, 8).T.tolist())
    assert np.ptp(apart) > 1.2 * np.ptp(mixed) > 0


def test_the_scatter_of_blocks_counts_once():
    """Half the width, less what few sessions add to it, is the error that repeating shows."""
    sessions, blocks = 8, 5
    draws = np.random.default_rng(1).normal(1, 0.02, (200, sessions, blocks)).tolist()
    error = np.std([estimator.latency(draw) for draw in draws])
    half = np.mean([np.ptp(estimator.interval(draw)) / 2 for draw in draws])
    student = 2.365  # of 7 degrees, 97.5 %
    few = student * math.sqrt(sessions / (sessions - 1))
    assert half / few == pytest.approx(error, rel=0.15)


def test_what_no_session_shows_widens_it():
    blocks = [[1.0, 1.01], [1.02, 1.0], [1.01, 1.0]]
    seen = np.ptp(estimator.interval(blocks)) / 2
    assert np.ptp(estimator.interval(blocks, 0.01)) / 2 == pytest.approx(
        math.hypot(seen, 1.96 * 0.01 * estimator.latency(blocks))
    )


def test_more_sessions_narrow_it():
    rng = np.random.default_rng(0)
    blocks = rng.normal(1, 0.01, (16, 4)).tolist()
    widths = [np.ptp(estimator.interval(blocks[:n])) for n in (2, 4, 16)]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("spread", [0.002, 0.02])
def test_covers_the_truth_about_as_often_as_it_says(spread):
    """Of sessions with a common deviation and blocks with their own; truth is of a long run."""
    rng = np.random.default_rng(1)

    def draw(sessions):
        base = rng.normal(1, spread, (sessions, 1))
        return base + np.abs(rng.normal(0, spread, (sessions, 4)))

    truth = estimator.latency(draw(4000).tolist())
    intervals = [estimator.interval(draw(4).tolist()) for _ in range(200)]
    covered = np.mean([low <= truth <= high for low, high in intervals])
    assert covered == pytest.approx(0.95, abs=0.04)


@pytest.mark.parametrize("blocks", [[], [[]], [[1.0], []]])
def test_a_session_without_a_block_is_refused(blocks):
    with pytest.raises(ValueError, match="every session must have a block"):
        estimator.latency(blocks)


def test_describes_the_spread_of_samples():
    found = estimator.describe([1.0, 2.0, 3.0, 4.0, 10.0])
    assert (found["median_s"], found["mad_s"]) == (3.0, 1.0)
    assert found["p90_s"] == pytest.approx(7.6)
    assert 7.6 < found["p99_s"] <= 10.0
    assert found["cv"] == pytest.approx(np.std([1, 2, 3, 4, 10]) / 4)
