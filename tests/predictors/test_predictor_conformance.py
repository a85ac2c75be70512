"""What every predictor keeps, whatever its model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest

from farm.core.errors import UnknownName
from predictors import FloatArray, Observations, Posterior, Predictor, metrics
from predictors.encodings.analytic import AnalyticColumns
from predictors.encodings.normalisation import TrainingRows
from predictors.models.gp import GaussianProcess
from predictors.models.mixture_gp import MixtureGP
from tests.neural import NEURAL
from tests.plain import PLAIN

SIZE = 4
"""Column of the made-up pool that grows with a network's work."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A predictor, and each network of the pool as it sees it: (N, F)."""

    predictor: Predictor
    features: FloatArray
    latency_s: FloatArray

    def observe(self, rows: list[int], device: list[int] | None = None) -> Observations:
        """Latencies of `rows`; device two is twice as slow as device one."""
        index = np.zeros(len(rows), np.intp) if device is None else np.array(device, np.intp)
        latency_s = self.latency_s[rows] * (1 + index)
        return Observations(self.features[rows], index, latency_s, ("one", "two"))

    def posterior(self, seen: Observations, device: str = "one") -> Posterior:
        return self.predictor.fit(seen).posterior(self.features, device)


def gaussian_process(pool: FloatArray, macs_column: int | None) -> tuple[Predictor, FloatArray]:
    return GaussianProcess.over(pool, macs_column), pool


def mixture(pool: FloatArray, references: int, costs: int) -> tuple[Predictor, FloatArray]:
    """`references` devices that favour one count each, and `costs` analytic columns."""
    rows = TrainingRows.every(pool)
    real = np.sqrt(1 + pool[:, :references])
    analytic = AnalyticColumns.of(pool[:, SIZE : SIZE + costs], ["size"][:costs], rows)
    spread = np.full(references, 0.3)
    model = MixtureGP.over(real, analytic.values, pool, rows, spread, analytic.spread)
    return model, model.features


SUBJECTS: dict[str, Callable[[FloatArray], tuple[Predictor, FloatArray]]] = {
    "gp": partial(gaussian_process, macs_column=SIZE),
    "gp_without_macs": partial(gaussian_process, macs_column=None),
    "mixture": partial(mixture, references=3, costs=1),
    "mixture_without_references": partial(mixture, references=0, costs=1),
    "mixture_without_costs": partial(mixture, references=2, costs=0),
    **PLAIN,
    **NEURAL,
}


SLOW = {*NEURAL, "forest"} - {"help"}
"""Trained for every test. `help` is trained once, and stands for the neural ones."""


@pytest.fixture(
    params=[pytest.param(s, marks=pytest.mark.slow if s in SLOW else ()) for s in SUBJECTS]
)
def subject(request: pytest.FixtureRequest, pool: FloatArray) -> Subject:
    latency_s = 1e-9 * pool[:, SIZE] + 1e-3 * pool[:, 2]
    return Subject(*SUBJECTS[request.param](pool), latency_s)


def test_shapes(subject: Subject) -> None:
    fitted = subject.predictor.fit(subject.observe([0, 1, 2]))
    some = subject.features[:9]
    posterior = fitted.posterior(some, "one", joint=True)
    assert posterior.mean.shape == posterior.std.shape == posterior.noise_std.shape == (9,)
    assert posterior.covariance is not None
    assert posterior.covariance.shape == (9, 9)
    assert fitted.posterior(some, "one").covariance is None


def test_no_network_is_no_trouble(subject: Subject) -> None:
    fitted = subject.predictor.fit(subject.observe([0, 1, 2]))
    assert fitted.posterior(subject.features[:0], "one").mean.shape == (0,)


def test_the_joint_posterior_has_the_same_margins(subject: Subject) -> None:
    fitted = subject.predictor.fit(subject.observe([3, 5, 8, 13], [0, 1, 0, 1]))
    alone = fitted.posterior(subject.features, "two")
    joint = fitted.posterior(subject.features, "two", joint=True)
    assert joint.covariance is not None
    np.testing.assert_allclose(joint.mean, alone.mean)
    np.testing.assert_allclose(joint.std, alone.std, rtol=1e-6)
    assert np.linalg.eigvalsh(joint.covariance).min() > -1e-9


@pytest.mark.parametrize("n", [0, 1, 2])
def test_it_works_from_almost_nothing(subject: Subject, n: int) -> None:
    posterior = subject.posterior(subject.observe(list(range(n))))
    assert np.isfinite(posterior.mean).all()
    assert (posterior.std > 0).all()
    assert (posterior.noise_std > 0).all()


def test_the_order_of_entries_does_not_matter(subject: Subject) -> None:
    there = subject.posterior(subject.observe([1, 4, 9, 16], [0, 1, 1, 0]))
    back = subject.posterior(subject.observe([16, 9, 4, 1], [0, 1, 1, 0]))
    np.testing.assert_allclose(there.mean, back.mean)
    np.testing.assert_allclose(there.std, back.std, rtol=1e-6)


def test_the_order_of_networks_does_not_matter(subject: Subject) -> None:
    fitted = subject.predictor.fit(subject.observe([1, 4, 9]))
    turned = fitted.posterior(subject.features[::-1], "one")
    straight = fitted.posterior(subject.features, "one")
    np.testing.assert_allclose(turned.mean[::-1], straight.mean)


def test_equal_input_gives_equal_output(subject: Subject) -> None:
    seen = subject.observe([1, 4, 9])
    first, second = subject.posterior(seen), subject.posterior(seen)
    np.testing.assert_array_equal(first.mean, second.mean)
    np.testing.assert_array_equal(first.std, second.std)


def test_no_noise_is_the_same_as_nothing_known_of_it(subject: Subject) -> None:
    seen = subject.observe([1, 4, 9, 25, 36])
    first, second = subject.posterior(seen), subject.posterior(replace(seen, noise_std=np.zeros(5)))
    np.testing.assert_array_equal(first.mean, second.mean)
    np.testing.assert_array_equal(first.std, second.std)


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_another_unit_shifts_the_mean(subject: Subject, unit: float) -> None:
    seen = subject.observe([1, 4, 9, 25, 36])
    scaled = replace(seen, latency_s=seen.latency_s * unit)
    a, b = subject.posterior(seen), subject.posterior(scaled)
    np.testing.assert_allclose(b.mean, a.mean + np.log(unit))
    np.testing.assert_allclose(b.std, a.std, rtol=1e-6)


def test_it_is_less_sure_where_it_has_not_been(subject: Subject) -> None:
    rows = list(range(8))
    posterior = subject.posterior(subject.observe(rows))
    assert posterior.std[rows].mean() < 0.8 * np.delete(posterior.std, rows).mean()


def test_samples_teach_the_ranking(subject: Subject) -> None:
    posterior = subject.posterior(subject.observe(list(range(30))))
    rho = metrics.spearman(posterior.mean[30:], subject.latency_s[30:])
    assert rho is not None
    assert rho > 0.9


def test_a_device_without_a_sample_is_barely_known(subject: Subject) -> None:
    fitted = subject.predictor.fit(subject.observe(list(range(20))))
    known, unknown = (fitted.posterior(subject.features, name) for name in ("one", "two"))
    assert unknown.std.min() > 3 * np.median(known.std)


def test_constant_latencies_are_no_trouble(subject: Subject) -> None:
    seen = subject.observe([1, 4, 9, 25, 36, 49, 64, 81])
    posterior = subject.posterior(replace(seen, latency_s=np.full(8, 2e-3)))
    low_s, high_s = posterior.interval_s()
    assert ((low_s < 2e-3) & (high_s > 2e-3)).all()


def test_a_network_measured_often_is_no_trouble(subject: Subject) -> None:
    seen = subject.observe([1] * 6 + [2])
    posterior = subject.posterior(seen)
    assert posterior.latency_s[1] == pytest.approx(seen.latency_s[0], rel=0.1)


def test_an_unknown_device_is_an_error(subject: Subject) -> None:
    with pytest.raises(UnknownName, match="no device 'three'"):
        subject.posterior(subject.observe([0]), "three")


def test_features_of_another_width_are_an_error(subject: Subject) -> None:
    fitted = subject.predictor.fit(subject.observe([0]))
    with pytest.raises(ValueError, match=r"features must be \(M, \d+\)"):
        fitted.posterior(subject.features[:, :3], "one")
