from __future__ import annotations

import numpy as np
import pytest

from farm.core.errors import UnknownName
from predictors import FloatArray, metrics
from predictors.encodings import encode
from predictors.encodings.analytic import AnalyticColumns
from predictors.encodings.hwl import CLIP, HardwareLatencies, Normalisation, References
from predictors.encodings.normalisation import TrainingRows
from predictors.encodings.vec import counts, one_hot, tallies
from predictors.models.surrogate import GRID, deviations, predict_columns

OPS = np.array([[0, 2, 2], [1, 0, 2]])


def test_vec_marks_the_operation_of_each_position() -> None:
    encoded = one_hot(OPS, 3)
    assert encoded.reshape(2, 3, 3).argmax(2).tolist() == OPS.tolist()
    assert encoded.sum(1).tolist() == [3, 3]
    assert counts(OPS, 3).tolist() == [[1, 0, 2], [1, 1, 1]]


def test_vec_refuses_operations_that_have_no_name() -> None:
    with pytest.raises(ValueError, match="must be 0 to 1, got 0 to 2"):
        one_hot(OPS, 2)


def test_tallies_are_of_all_positions_and_of_either_half() -> None:
    found = tallies(np.array([[0, 1, 1, 1, 2]]), 3)
    np.testing.assert_array_equal(found, [[1, 3, 1, 1, 2, 0, 0, 1, 1]])


def test_analytic_columns_are_costs_and_their_even_mixtures() -> None:
    costs = np.array([[1.0, 10.0, 5.0], [4.0, 10.0, 20.0], [9.0, 10.0, 3.0]])
    analytic = AnalyticColumns.of(costs, ["macs", "constant", "kernels"], TrainingRows.every(costs))
    assert analytic.names == ("macs", "kernels", "macs+kernels")
    roots = np.sqrt(costs[:, 0])
    expected = (roots - roots.mean()) / roots.std()
    np.testing.assert_allclose(analytic.values[:, 0], expected)
    assert analytic.spread[0] == pytest.approx(roots.std() / roots.mean())
    mixed = costs[:, 0] / costs[:, 0].mean() + costs[:, 2] / costs[:, 2].mean()
    assert metrics.spearman(analytic.values[:, 2], mixed) == pytest.approx(1.0)


def test_analytic_columns_of_no_cost_are_none() -> None:
    assert AnalyticColumns.of(np.ones((3, 1)), ["same"], TrainingRows.of([0])).values.shape == (
        3,
        0,
    )


def test_a_negative_cost_is_refused() -> None:
    with pytest.raises(ValueError, match="not negative"):
        AnalyticColumns.of(np.array([[1.0], [-1.0]]), ["a"], TrainingRows.of([0, 1]))


@pytest.fixture
def latency_s(pool: FloatArray) -> FloatArray:
    """(200, 2): one device runs one count, the other another, with different overheads."""
    return np.column_stack([1e-3 + 1e-3 * pool[:, 1], 5e-2 + 2e-2 * pool[:, 2] ** 1.2])


ROWS = TrainingRows.of(np.arange(120), held_out=np.arange(120, 200))


def test_a_target_is_not_among_its_own_references(latency_s: FloatArray) -> None:
    references = References(latency_s, ("a", "b"), ROWS)
    references.without("c")
    with pytest.raises(ValueError, match="target 'b' is among its own references"):
        references.without("b")


def test_held_out_rows_change_nothing(pool: FloatArray, latency_s: FloatArray) -> None:
    """The encoding is the same whatever the latencies outside the training rows are."""
    spoilt = latency_s.copy()
    spoilt[120:] = np.nan
    a, b = (
        HardwareLatencies.of(References(y, ("a", "b"), ROWS), pool) for y in (latency_s, spoilt)
    )
    np.testing.assert_array_equal(a.values, b.values)
    assert a.mask.sum(0).tolist() == [120, 120]


def test_references_are_filled_in_from_structure(pool: FloatArray, latency_s: FloatArray) -> None:
    hwl = HardwareLatencies.of(References(latency_s, ("a", "b"), ROWS), pool)
    for predicted, measured in zip(hwl.values.T, latency_s.T, strict=True):
        rho = metrics.spearman(predicted[120:], measured[120:])
        assert rho is not None
        assert rho > 0.95


def test_partly_measured_references_are_filled_in(pool: FloatArray, latency_s: FloatArray) -> None:
    partial = latency_s.copy()
    partial[:80, 1] = np.nan
    hwl = HardwareLatencies.of(References(partial, ("a", "b"), ROWS), pool)
    rho = metrics.spearman(hwl.values[:80, 1], latency_s[:80, 1])
    assert hwl.mask[:, 1].sum() == 40
    assert rho is not None
    assert rho > 0.9


def test_a_unit_of_a_reference_does_not_matter(pool: FloatArray, latency_s: FloatArray) -> None:
    a, b = (
        HardwareLatencies.of(References(y, ("a", "b"), ROWS), pool)
        for y in (latency_s, latency_s * [1e3, 1.0])
    )
    np.testing.assert_allclose(a.values, b.values, atol=1e-6)


def test_one_spike_does_not_rule_a_reference(pool: FloatArray, latency_s: FloatArray) -> None:
    spoilt = latency_s.copy()
    spoilt[7, 0] = 1e3
    hwl = HardwareLatencies.of(References(spoilt, ("a", "b"), ROWS), pool)
    assert np.abs(hwl.values).max() < 2 * CLIP


@pytest.mark.parametrize("bad", [0.0, -1.0, np.inf])
def test_a_latency_is_positive_or_missing(latency_s: FloatArray, bad: float) -> None:
    latency_s[3, 0] = bad
    with pytest.raises(ValueError, match="positive seconds, or NaN"):
        References(latency_s, ("a", "b"), ROWS)


def test_a_reference_without_any_measurement_is_named(latency_s: FloatArray) -> None:
    latency_s[:, 1] = np.nan
    with pytest.raises(ValueError, match="reference 'b' has no measured training network"):
        References(latency_s, ("a", "b"), ROWS)


def test_a_surrogate_is_the_dense_posterior_mean_of_its_best_point(pool: FloatArray) -> None:
    rows, column = np.arange(50), np.sin(pool[:50, [0]]) + 0.3 * pool[:50, [3]]
    z = (pool - pool[rows].mean(0)) / pool[rows].std(0)
    candidates, evidence = [], []
    for a, b, noise in GRID:
        apart = ((z[:, None] - z[None, rows]) ** 2).sum(2) / z.shape[1]
        kernel = 1 + a * z @ z[rows].T / z.shape[1] + b * np.exp(-apart / 2)
        inside = kernel[rows] + noise * np.eye(50)
        candidates.append(kernel @ np.linalg.inv(inside) @ column)
        fit = column[:, 0] @ np.linalg.inv(inside) @ column[:, 0]
        evidence.append(-fit - np.linalg.slogdet(inside)[1])
    best = candidates[int(np.argmax(evidence))]
    np.testing.assert_allclose(predict_columns(pool, rows, column), best, atol=1e-6)


def test_what_is_predicted_has_a_standard_deviation(
    pool: FloatArray, latency_s: FloatArray
) -> None:
    """None where measured, more where less was measured, and of the size of the errors."""
    partial = latency_s * np.exp(np.random.default_rng(0).normal(0, 0.02, latency_s.shape))
    partial[:100, 1] = np.nan
    hwl = HardwareLatencies.of(References(partial, ("a", "b"), ROWS), pool, with_std=True)
    assert hwl.std is not None
    assert not hwl.std[hwl.mask == 1].any()
    assert (hwl.std[hwl.mask == 0] > 0).all()
    assert hwl.std[120:, 1].mean() > hwl.std[120:, 0].mean()
    truth = HardwareLatencies.of(References(latency_s, ("a", "b"), TrainingRows.every(pool)), pool)
    errors = np.log(hwl.latency_s / truth.latency_s)[120:]
    assert np.median(np.abs(errors)) < 0.1
    assert HardwareLatencies.of(References(partial, ("a", "b"), ROWS), pool).std is None


def test_latencies_are_measured_or_predicted_seconds(
    pool: FloatArray, latency_s: FloatArray
) -> None:
    hwl = HardwareLatencies.of(References(latency_s, ("a", "b"), ROWS), pool)
    np.testing.assert_array_equal(hwl.latency_s[:120], latency_s[:120])
    np.testing.assert_allclose(hwl.latency_s[120:, 0], latency_s[120:, 0], rtol=0.2)


def test_deviations_are_the_dense_posteriors(pool: FloatArray) -> None:
    rows, column = np.arange(50), np.sin(pool[:50, [0]]) + 0.3 * pool[:50, [3]]
    z = (pool - pool[rows].mean(0)) / pool[rows].std(0)
    apart = ((z[:, None] - z[None]) ** 2).sum(2) / z.shape[1]
    candidates = []
    for a, b, noise in GRID:
        kernel = 1 + a * z @ z.T / z.shape[1] + b * np.exp(-apart / 2)
        inside = np.linalg.inv(kernel[:50, :50] + noise * np.eye(50))
        candidates.append(np.diag(kernel - kernel[:, :50] @ inside @ kernel[:50]))
    found = deviations(pool, rows, column)[:, 0]
    assert any(np.allclose(found, np.sqrt(np.maximum(c, 0)), atol=1e-6) for c in candidates)


def test_an_encoding_is_hwl_as_it_is_and_other_parts_standardised(
    pool: FloatArray,
) -> None:
    rows = TrainingRows.of(np.arange(120), held_out=np.arange(120, 200))
    parts = {"hwl": pool[:, :2], "vec": np.column_stack([pool[:, 2:], np.ones(len(pool))])}
    encoded = encode("hwlvec", parts.__getitem__, rows)
    assert encoded.shape == (200, 6)
    np.testing.assert_allclose(encoded[:120, 2:].mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(encoded[:120, 2:].std(0), 1)
    np.testing.assert_array_equal(encoded[:, :2], parts["hwl"])
    np.testing.assert_array_equal(encode("hwl", parts.__getitem__, rows), parts["hwl"])
    with pytest.raises(UnknownName, match="no encoding 'hlw'; did you mean 'hwl'"):
        encode("hlw", parts.__getitem__, rows)


def test_a_normalisation_is_fitted_once_and_encodes_any_later_network() -> None:
    fitted_s = np.array([[1e-3, 4e-3], [2e-3, 4e-3], [4e-3, 4e-3]])
    fitted = Normalisation.fit(fitted_s)
    values = fitted.values(fitted_s)
    np.testing.assert_allclose(values[:, 0].mean(), 0, atol=1e-6)  # of single precision
    np.testing.assert_allclose(values[:, 0].std(), 1, rtol=1e-6)
    assert values[:, 1].tolist() == [0, 0, 0]
    np.testing.assert_allclose(fitted.latency_s(values), fitted_s, rtol=1e-6)
    alone = fitted.values(np.array([[3e-3, np.nan]]))
    assert alone[0, 0] == fitted.values(np.array([[9e-3, 1.0], [3e-3, 1.0]]))[1, 0]
    assert np.isnan(alone[0, 1])
    assert fitted.values(np.array([[1e3, 4e-3]]))[0, 0] == CLIP


def test_the_deviation_of_a_value_is_that_of_its_latency() -> None:
    fitted = Normalisation.fit(np.array([[1e-3], [2e-3], [4e-3]]))
    latency_s, log_std = np.array([[2.5e-3]]), np.array([[1e-3]])
    low, high = (fitted.values(latency_s * np.exp(k * log_std))[0, 0] for k in (-1, 1))
    assert fitted.std(latency_s, log_std)[0, 0] == pytest.approx((high - low) / 2, rel=1e-3)


def test_the_deviation_at_a_latency_of_zero_is_not_known() -> None:
    fitted = Normalisation.fit(np.array([[1e-3], [2e-3]]))
    none = np.zeros((1, 1))
    assert np.isinf(fitted.log_std(none, np.ones((1, 1))))
    assert np.isnan(fitted.std(none, np.full((1, 1), np.inf)))


def test_without_a_fit_values_are_square_roots_of_seconds() -> None:
    np.testing.assert_array_equal(Normalisation.none(1).values(np.array([[0.25]])), [[0.5]])
