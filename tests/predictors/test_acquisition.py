from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from predictors import FloatArray, IntArray
from predictors.acquisition import ACQUISITIONS, Acquisition, variance
from predictors.models.gp import GaussianProcess


@pytest.fixture(scope="module")
def prior(pool: FloatArray) -> GaussianProcess:
    return GaussianProcess.over(pool, 4)


@pytest.fixture(params=ACQUISITIONS)
def choose(request: pytest.FixtureRequest) -> Acquisition:
    return ACQUISITIONS[request.param]


def posterior_variance(prior: GaussianProcess, points: FloatArray, given: list[int]) -> FloatArray:
    """Dense formula: diag(K - K_g (K_gg + noise)^-1 K_g')."""
    covariance = prior.covariance(points, points)
    inside = covariance[np.ix_(given, given)] + prior.noise_variance * np.eye(len(given))
    cross = covariance[given]
    return np.diag(covariance) - np.einsum("gm,gm->m", cross, np.linalg.solve(inside, cross))


def test_rows_are_new_and_distinct(
    choose: Acquisition, prior: GaussianProcess, pool: FloatArray
) -> None:
    taken, barred = [3, 1, 4], [15, 9, 26]
    rows = choose(pool, taken, 50, 0, prior=prior, barred=barred)
    assert rows.shape == (50,)
    assert len({*rows.tolist(), *taken, *barred}) == 56


def test_the_seed_decides(choose: Acquisition, prior: GaussianProcess, pool: FloatArray) -> None:
    first, again, other = (choose(pool, (), 12, s, prior=prior).tolist() for s in (0, 0, 1))
    assert first == again
    assert choose is variance or first != other


def test_batches_choose_what_one_call_does(
    choose: Acquisition, prior: GaussianProcess, pool: FloatArray
) -> None:
    taken: IntArray = np.empty(0, np.intp)
    for n in (1, 4, 0, 7):
        taken = np.concatenate([taken, choose(pool, taken, n, 5, prior=prior)])
    assert taken.tolist() == choose(pool, (), 12, 5, prior=prior).tolist()


def test_batches_agree_beyond_the_first_pool(
    prior: GaussianProcess, pool: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("predictors.acquisition.POOL", 20)
    monkeypatch.setattr("predictors.acquisition.POOL_GROWS_EVERY", 5)
    whole = variance(pool, (), 30, 2, prior=prior)
    half = variance(pool, (), 13, 2, prior=prior)
    rest = variance(pool, half, 17, 2, prior=prior)
    assert whole.tolist() == [*half, *rest]
    order = np.random.default_rng(2).permutation(len(pool))
    assert set(whole[:5]) <= set(order[:20])
    assert not set(whole) <= set(order[:20])


def test_too_many_are_refused(
    choose: Acquisition, prior: GaussianProcess, pool: FloatArray
) -> None:
    with pytest.raises(ValueError, match="5 rows were asked for, but only 3 of 10 are free"):
        choose(pool[:10], [0, 1, 2], 5, 0, prior=prior, barred=[2, 3, 4, 5, 6])


def test_everything_may_be_chosen(
    choose: Acquisition, prior: GaussianProcess, pool: FloatArray
) -> None:
    assert sorted(choose(pool[:10], (), 10, 0, prior=prior)) == list(range(10))


def test_each_choice_is_where_least_is_known(prior: GaussianProcess, pool: FloatArray) -> None:
    taken = [0, 7]
    rows = variance(pool, taken, 6, 0, prior=prior).tolist()
    for i, row in enumerate(rows):
        left = posterior_variance(prior, pool, taken + rows[:i])
        left[taken + rows[:i]] = -1
        assert left[row] == pytest.approx(left.max())


def test_two_greedy_choices_are_near_the_best_two(prior: GaussianProcess, pool: FloatArray) -> None:
    """Information of all pairs of 12 points by brute force; greedy gets 1 - 1/e of the best."""
    few = pool[:12]
    covariance = prior.covariance(few, few) / prior.noise_variance

    def information(pair: tuple[int, ...]) -> float:
        return float(np.linalg.slogdet(np.eye(2) + covariance[np.ix_(pair, pair)])[1])

    chosen = tuple(variance(few, (), 2, 0, prior=prior).tolist())
    best = max(information(pair) for pair in permutations(range(12), 2))
    assert information(chosen) >= (1 - 1 / np.e) * best


def test_dear_networks_must_teach_more(prior: GaussianProcess, pool: FloatArray) -> None:
    even = variance(pool, (), 10, 0, prior=prior)
    cost_s = np.ones(len(pool))
    cost_s[even] = 1e6
    priced = variance(pool, (), 10, 0, prior=prior, cost_s=cost_s)
    assert not set(priced) & set(even)


def test_a_price_is_positive(prior: GaussianProcess, pool: FloatArray) -> None:
    with pytest.raises(ValueError, match="positive seconds"):
        variance(pool, (), 1, 0, prior=prior, cost_s=np.zeros(len(pool)))


def test_chosen_samples_leave_less_unknown_than_random_ones(
    prior: GaussianProcess, pool: FloatArray
) -> None:
    left = {
        name: np.mean(
            [
                posterior_variance(
                    prior, pool, choose(pool, (), 10, s, prior=prior).tolist()
                ).mean()
                for s in range(5)
            ]
        )
        for name, choose in ACQUISITIONS.items()
    }
    assert left["variance"] < 0.9 * left["random"]
