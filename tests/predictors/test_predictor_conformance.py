"""What every predictor keeps, whatever its model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from farm.errors import UnknownName
from predictors import FloatArray, Observations, Predictor
from predictors.models.gp import GaussianProcess

POOL_SIZE_COLUMN = 4

PREDICTORS = {
    "gp": lambda pool: GaussianProcess.over(pool, POOL_SIZE_COLUMN),
    "gp_without_macs": lambda pool: GaussianProcess.over(pool),
}


@pytest.fixture(params=PREDICTORS)
def predictor(request: pytest.FixtureRequest, pool: FloatArray) -> Predictor:
    return PREDICTORS[request.param](pool)


def observe(pool: FloatArray, rows: list[int], device: list[int] | None = None) -> Observations:
    latency_s = 1e-9 * pool[rows, POOL_SIZE_COLUMN] + 1e-3 * pool[rows, 2]
    index = np.zeros(len(rows), np.intp) if device is None else np.array(device, np.intp)
    return Observations(pool[rows], index, latency_s * (1 + index), ("one", "two"))


def test_shapes(predictor: Predictor, pool: FloatArray) -> None:
    fitted = predictor.fit(observe(pool, [0, 1, 2]))
    posterior = fitted.posterior(pool[:9], "one", joint=True)
    assert posterior.mean.shape == posterior.std.shape == posterior.noise_std.shape == (9,)
    assert posterior.covariance is not None
    assert posterior.covariance.shape == (9, 9)
    assert fitted.posterior(pool[:9], "one").covariance is None


def test_the_joint_posterior_has_the_same_margins(predictor: Predictor, pool: FloatArray) -> None:
    fitted = predictor.fit(observe(pool, [3, 5, 8, 13], [0, 1, 0, 1]))
    alone, joint = fitted.posterior(pool, "two"), fitted.posterior(pool, "two", joint=True)
    assert joint.covariance is not None
    np.testing.assert_allclose(joint.mean, alone.mean)
    np.testing.assert_allclose(joint.std, alone.std, rtol=1e-6)
    assert np.linalg.eigvalsh(joint.covariance).min() > -1e-9


@pytest.mark.parametrize("n", [0, 1, 2])
def test_it_works_from_almost_nothing(predictor: Predictor, pool: FloatArray, n: int) -> None:
    posterior = predictor.fit(observe(pool, list(range(n)))).posterior(pool, "one")
    assert np.isfinite(posterior.mean).all()
    assert (posterior.std > 0).all()
    assert (posterior.noise_std > 0).all()


def test_the_order_of_entries_does_not_matter(predictor: Predictor, pool: FloatArray) -> None:
    there = predictor.fit(observe(pool, [1, 4, 9, 16], [0, 1, 1, 0]))
    back = predictor.fit(observe(pool, [16, 9, 4, 1], [0, 1, 1, 0]))
    a, b = there.posterior(pool, "one"), back.posterior(pool, "one")
    np.testing.assert_allclose(a.mean, b.mean)
    np.testing.assert_allclose(a.std, b.std, rtol=1e-6)


def test_the_order_of_networks_does_not_matter(predictor: Predictor, pool: FloatArray) -> None:
    fitted = predictor.fit(observe(pool, [1, 4, 9]))
    turned = fitted.posterior(pool[::-1], "one")
    np.testing.assert_allclose(turned.mean[::-1], fitted.posterior(pool, "one").mean)


def test_equal_input_gives_equal_output(predictor: Predictor, pool: FloatArray) -> None:
    seen = observe(pool, [1, 4, 9])
    first, second = (predictor.fit(seen).posterior(pool, "one") for _ in range(2))
    np.testing.assert_array_equal(first.mean, second.mean)
    np.testing.assert_array_equal(first.std, second.std)


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_another_unit_shifts_the_mean(predictor: Predictor, pool: FloatArray, unit: float) -> None:
    seen = observe(pool, [1, 4, 9, 25, 36])
    scaled = replace(seen, latency_s=seen.latency_s * unit)
    a, b = (predictor.fit(o).posterior(pool, "one") for o in (seen, scaled))
    np.testing.assert_allclose(b.mean, a.mean + np.log(unit))
    np.testing.assert_allclose(b.std, a.std, rtol=1e-6)


def test_it_is_less_sure_where_it_has_not_been(predictor: Predictor, pool: FloatArray) -> None:
    rows = list(range(20))
    posterior = predictor.fit(observe(pool, rows)).posterior(pool, "one")
    assert posterior.std[rows].mean() < 0.7 * np.delete(posterior.std, rows).mean()


def test_a_device_without_a_sample_is_barely_known(predictor: Predictor, pool: FloatArray) -> None:
    fitted = predictor.fit(observe(pool, list(range(20))))
    known, unknown = fitted.posterior(pool, "one"), fitted.posterior(pool, "two")
    assert unknown.std.min() > 3 * known.std.max()


def test_constant_latencies_are_no_trouble(predictor: Predictor, pool: FloatArray) -> None:
    seen = observe(pool, [1, 4, 9, 25, 36, 49, 64, 81])
    posterior = predictor.fit(replace(seen, latency_s=np.full(8, 2e-3))).posterior(pool, "one")
    low_s, high_s = posterior.interval_s()
    assert ((low_s < 2e-3) & (high_s > 2e-3)).all()


def test_a_network_measured_often_is_no_trouble(predictor: Predictor, pool: FloatArray) -> None:
    seen = observe(pool, [1] * 6 + [2])
    posterior = predictor.fit(seen).posterior(pool[[1]], "one")
    assert posterior.latency_s == pytest.approx(seen.latency_s[0], rel=0.1)


def test_an_unknown_device_is_an_error(predictor: Predictor, pool: FloatArray) -> None:
    with pytest.raises(UnknownName, match="no device 'three'"):
        predictor.fit(observe(pool, [0])).posterior(pool, "three")


def test_features_of_another_width_are_an_error(predictor: Predictor, pool: FloatArray) -> None:
    with pytest.raises(ValueError, match=r"features must be \(M, 6\)"):
        predictor.fit(observe(pool, [0])).posterior(pool[:, :3], "one")
