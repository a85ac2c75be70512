from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors import metrics

POINTS = np.array([1.0, 2.0, 3.0, 5.0])


def test_rank_correlations_of_known_orders() -> None:
    swapped = np.array([1.0, 3.0, 2.0, 5.0])
    assert metrics.spearman(POINTS, swapped) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert metrics.kendall(POINTS, swapped) == pytest.approx((5 - 1) / 6)
    assert metrics.spearman(POINTS, -POINTS) == pytest.approx(-1)


def test_tau_b_corrects_for_ties() -> None:
    tied = np.array([1.0, 1.0, 3.0, 5.0])
    assert metrics.kendall(POINTS, tied) == pytest.approx(5 / np.sqrt(6 * 5))


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_points_have_no_rank_correlation(n: int) -> None:
    assert metrics.spearman(POINTS[:n], POINTS[:n]) is None
    assert metrics.kendall(POINTS[:n], POINTS[:n]) is None


def test_a_constant_side_has_no_rank_correlation() -> None:
    assert metrics.spearman(np.ones(4), POINTS) is None
    assert metrics.kendall(POINTS, np.ones(4)) is None


def test_within_counts_relative_errors_of_the_measured_value() -> None:
    predicted = POINTS * [1.0, 1.04, 0.94, 1.2]
    assert metrics.within(predicted, POINTS, 0.05) == 0.5
    assert metrics.within(predicted, POINTS, 0.1) == 0.75
    assert metrics.within(POINTS[:0], POINTS[:0], 0.1) is None


def test_coverage_counts_both_ends() -> None:
    low, high = np.array([1.0, 2.5, 0.0, 0.0]), np.array([1.0, 3.0, 2.0, 9.0])
    assert metrics.coverage(low, high, POINTS) == 0.5
    assert metrics.coverage(POINTS[:0], POINTS[:0], POINTS[:0]) is None


def test_nan_is_refused_rather_than_ranked() -> None:
    with pytest.raises(ValueError, match="must be finite"):
        metrics.spearman(np.array([1.0, np.nan, 2.0]), POINTS[:3])


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="one length"):
        metrics.coverage(POINTS[:2], POINTS, POINTS)


@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=30, unique=True))
def test_rank_correlation_ignores_the_unit(values: list[float]) -> None:
    predicted = np.arange(len(values), dtype=float)
    measured = np.array(values)
    scaled = np.argsort(np.argsort(measured)) * 1e-3 + 5
    assert metrics.spearman(predicted, measured) == metrics.spearman(predicted, scaled)
