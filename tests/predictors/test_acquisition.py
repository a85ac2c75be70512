from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from predictors import FloatArray, IntArray
from predictors.acquisition import (
    ACQUISITIONS,
    Acquisition,
    Pool,
    alc,
    kmeans,
    variance,
)
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
    rows = choose(Pool(pool, 0, np.array(barred)), taken, 50, prior=prior)
    assert rows.shape == (50,)
    assert len({*rows.tolist(), *taken, *barred}) == 56


def test_the_seed_decides(
    choose: Acquisition,
    prior: GaussianProcess,
    pool: FloatArray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By which networks the first choices are among."""
    monkeypatch.setattr("predictors.acquisition.POOL", 20)
    first, again, other = (choose(Pool(pool, s), (), 12, prior=prior).tolist() for s in (0, 0, 1))
    assert first == again
    assert first != other


def test_batches_choose_what_one_call_does(
    choose: Acquisition, prior: GaussianProcess, pool: FloatArray
) -> None:
    taken: IntArray = np.empty(0, np.intp)
    for n in (1, 4, 0, 7):
        taken = np.concatenate([taken, choose(Pool(pool, 5), taken, n, prior=prior)])
    assert taken.tolist() == choose(Pool(pool, 5), (), 12, prior=prior).tolist()


def test_batches_agree_beyond_the_first_pool(
    prior: GaussianProcess, pool: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("predictors.acquisition.POOL", 20)
    monkeypatch.setattr("predictors.acquisition.POOL_GROWS_EVERY", 5)
    whole = variance(Pool(pool, 2), (), 30, prior=prior)
    half = variance(Pool(pool, 2), (), 13, prior=prior)
    rest = variance(Pool(pool, 2), half, 17, prior=prior)
    assert whole.tolist() == [*half, *rest]
    order = np.random.default_rng(2).permutation(len(pool))
    assert set(whole[:5]) <= set(order[:20])
    assert not set(whole) <= set(order[:20])


def test_what_was_measured_is_not_chosen_again(
    choose: Acquisition, prior: GaussianProcess, pool: FloatArray
) -> None:
    measured = np.array([3, 1, 4, 15, 9])
    rows = choose(Pool(pool, 0, measured=measured), [26], 20, prior=prior)
    assert len({*rows.tolist(), *measured, 26}) == 26


@pytest.mark.parametrize("name", ["random", "kmeans"])
def test_without_a_model_what_was_measured_is_as_what_was_chosen(
    name: str, prior: GaussianProcess, pool: FloatArray
) -> None:
    rows = np.array([3, 1, 4])
    told = ACQUISITIONS[name](Pool(pool, 0, measured=rows), (), 6, prior=prior)
    assert told.tolist() == ACQUISITIONS[name](Pool(pool, 0), rows, 6, prior=prior).tolist()


def test_what_was_measured_opens_the_pool_as_choices_do(
    prior: GaussianProcess, pool: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("predictors.acquisition.POOL", 10)

    def of_first_ten(measured: int) -> list[bool]:
        found = []
        for seed in range(20):
            order = Pool(pool, seed).order
            told = Pool(pool, seed, measured=order[:measured])
            found.append(variance(told, (), 1, prior=prior)[0] in order[:10])
        return found

    assert all(of_first_ten(4))
    assert not all(of_first_ten(5))


def test_too_many_are_refused(
    choose: Acquisition, prior: GaussianProcess, pool: FloatArray
) -> None:
    with pytest.raises(ValueError, match="5 rows were asked for, but only 3 of 10 are free"):
        choose(Pool(pool[:10], 0, np.array([2, 3, 4, 5, 6])), [0, 1, 2], 5, prior=prior)


def test_everything_may_be_chosen(
    choose: Acquisition, prior: GaussianProcess, pool: FloatArray
) -> None:
    assert sorted(choose(Pool(pool[:10], 0), (), 10, prior=prior)) == list(range(10))


def test_each_choice_is_where_least_is_known(prior: GaussianProcess, pool: FloatArray) -> None:
    taken = [0, 7]
    rows = variance(Pool(pool, 0), taken, 6, prior=prior).tolist()
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

    chosen = tuple(variance(Pool(few, 0), (), 2, prior=prior).tolist())
    best = max(information(pair) for pair in permutations(range(12), 2))
    assert information(chosen) >= (1 - 1 / np.e) * best


def test_dear_networks_must_teach_more(prior: GaussianProcess, pool: FloatArray) -> None:
    even = variance(Pool(pool, 0), (), 10, prior=prior)
    cost_s = np.ones(len(pool))
    cost_s[even] = 1e6
    priced = variance(Pool(pool, 0), (), 10, prior=prior, cost_s=cost_s)
    assert not set(priced) & set(even)


def test_a_price_is_positive(prior: GaussianProcess, pool: FloatArray) -> None:
    with pytest.raises(ValueError, match="positive seconds"):
        variance(Pool(pool, 0), (), 1, prior=prior, cost_s=np.zeros(len(pool)))


def test_chosen_samples_leave_less_unknown_than_random_ones(
    prior: GaussianProcess, pool: FloatArray
) -> None:
    left = {
        name: np.mean(
            [
                posterior_variance(
                    prior, pool, choose(Pool(pool, s), (), 10, prior=prior).tolist()
                ).mean()
                for s in range(5)
            ]
        )
        for name, choose in ACQUISITIONS.items()
    }
    assert left["variance"] < 0.9 * left["random"]


def test_alc_leaves_the_least_unknown_on_average(prior: GaussianProcess, pool: FloatArray) -> None:
    """The first choice after two, against all others by the dense formula."""
    taken = [0, 7]
    row = int(alc(Pool(pool, 0), taken, 1, prior=prior)[0])
    left = {
        r: posterior_variance(prior, pool, [*taken, r]).mean()
        for r in range(0, len(pool), 5)
        if r not in taken
    }
    assert posterior_variance(prior, pool, [*taken, row]).mean() <= min(left.values()) + 1e-9


def test_kmeans_takes_one_of_each_cluster() -> None:
    rng = np.random.default_rng(0)
    corners = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])
    points = np.repeat(corners, 10, axis=0) + 0.1 * rng.normal(size=(40, 2))
    rows = kmeans(Pool(points, 0), (), 4)
    assert sorted(rows // 10) == [0, 1, 2, 3]
    assert kmeans(Pool(points, 0), [0, 11, 22], 1)[0] // 10 == 3


def test_a_sure_and_wrong_model_does_not_stop_robust_choice_from_looking() -> None:
    """The model sees the first column alone; the second one is where networks differ."""
    grid = np.array([(a, b) for a in range(10) for b in range(10)], float)

    class FirstColumn:
        noise_variance = 0.01

        def covariance(self, a: FloatArray, b: FloatArray) -> FloatArray:
            return np.asarray(1 + np.outer(a[:, 0], b[:, 0]))

        def variance(self, a: FloatArray) -> FloatArray:
            return np.asarray(1 + a[:, 0] ** 2)

    rows = ACQUISITIONS["robust"](Pool(grid, 0), (), 6, prior=FirstColumn())
    assert np.ptp(grid[rows, 1]) >= 4
