"""Multi-Predict: what a hardware embedding is worth, and what fine-tuning may touch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from predictors import FloatArray, metrics
from predictors.encodings.normalisation import TrainingRows
from predictors.models.devices import Scale, TrainingDevices, nearest
from predictors.models.embedding_networks import embedding_positions, embedding_values
from predictors.models.multi_predict import MultiPredict
from predictors.models.training import Schedule, repeatable, train
from tests.neural import QUICK, hwl, multi, references, standardised, transfer


def rho(model: MultiPredict, x: FloatArray, latency_s: FloatArray, rows: list[int]) -> float:
    found = metrics.spearman(model(x[rows], np.log(latency_s[rows]))(x), latency_s)
    assert found is not None
    return found


@pytest.mark.parametrize("device", [0, 1, 2])
def test_a_device_like_a_known_one_needs_five_samples(pool: FloatArray, device: int) -> None:
    """Equation 1 finds it; the whole level is another."""
    latency_s = 7 * references(pool).latency_s[:, device]
    assert rho(multi(pool), standardised(pool), latency_s, [0, 1, 2, 3, 4]) > 0.97


def test_the_nearest_device_ranks_the_samples_best() -> None:
    known = np.array([[1.0, 3.0, 1.0], [1.0, 2.0, 2.0], [1.0, 1.0, 3.0]])
    assert nearest(known, np.array([1.0, 2.0, 9.0])) == 2


@pytest.mark.slow
def test_pretraining_is_worth_its_while(pool: FloatArray) -> None:
    x, known_s = standardised(pool), references(pool).latency_s
    untrained = replace(QUICK, pretraining=replace(QUICK.pretraining, epochs=0))
    latency_s, rows = 0.5 * known_s[:, 0] + 0.5 * known_s[:, 1], list(range(5))
    trained, scratch = (rho(multi(pool, s), x, latency_s, rows) for s in (QUICK, untrained))
    assert trained > 0.95
    assert trained > scratch + 0.05


def test_fine_tuning_leaves_the_pretrained_network_alone(pool: FloatArray) -> None:
    model = multi(pool)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    rho(model, standardised(pool), references(pool).latency_s[:, 0], [0, 1, 2])
    for name, value in model.network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_it_learns_from_training_rows_alone(pool: FloatArray) -> None:
    rows, x = TrainingRows.of(range(100)), standardised(pool)
    known = references(pool, rows)
    changed = replace(known, latency_s=np.where(np.arange(200)[:, None] < 100, known.latency_s, 9))
    a, b = (MultiPredict.pretrained(x, r, QUICK) for r in (known, changed))
    latency_s = np.log(known.latency_s[:6, 0])
    np.testing.assert_array_equal(a(x[:6], latency_s)(x), b(x[:6], latency_s)(x))


def test_devices_need_not_be_measured_everywhere(pool: FloatArray) -> None:
    known = references(pool)
    latency_s = known.latency_s.copy()
    latency_s[::2, 0] = np.nan
    latency_s[1::4, 1] = np.nan
    model = MultiPredict.pretrained(standardised(pool), replace(known, latency_s=latency_s), QUICK)
    assert rho(model, standardised(pool), known.latency_s[:, 0], [0, 1, 2, 3, 4]) > 0.95


def test_another_seed_is_another_network(pool: FloatArray) -> None:
    x, log_s = standardised(pool), np.log(references(pool).latency_s[:5, 0])
    first, second = (multi(pool, replace(QUICK, seed=s))(x[:5], log_s)(x) for s in (0, 1))
    assert np.abs(first - second).max() > 1e-3


def test_an_embedding_to_predict_with_may_be_another_devices(pool: FloatArray) -> None:
    model, x = multi(pool, replace(QUICK, embedding="sample")), standardised(pool)
    levels = references(pool).latency_s[:6, 0] / np.median(references(pool).latency_s[:6, 0])
    own, odd = (
        model.adapt(x[:6], levels, model.training.values[model.embedding_networks, d])(x)
        for d in (0, 2)
    )
    assert (metrics.spearman(own, references(pool).latency_s[:, 0]) or 0) > 0.95
    assert np.abs(own - odd).max() > 1e-6


def test_equation_1_takes_measurements_where_there_are_any(pool: FloatArray) -> None:
    x, known = standardised(pool), references(pool, TrainingRows.of(range(100)))
    expected = np.full((2, 3), -1.0)
    asked = x[[50, 150]]
    alone = TrainingDevices.of(x, known).known(asked, expected)
    assert (alone[0] >= 0).all()
    np.testing.assert_array_equal(alone[1], [-1, -1, -1])
    both = TrainingDevices.of(x, known, everywhere=True)
    np.testing.assert_allclose(both.known(asked, expected), both.pool[1][[50, 150]])


def test_an_index_embeds_a_new_device_as_the_next_one(pool: FloatArray) -> None:
    model = multi(pool, replace(QUICK, embedding="index"))
    known = model.network.hardware.numpy(force=True)
    np.testing.assert_array_equal(known[:, -2:], [[0, 0], [0, 1], [1, 0]])
    np.testing.assert_array_equal(model._hardware(np.empty(0), np.empty(0), 0)[0, -2:], [1, 1])


class TestEmbeddingNetworks:
    """The networks that make a Sample embedding."""

    def test_they_spread_over_the_latencies(self, pool: FloatArray) -> None:
        training = TrainingDevices.of(standardised(pool), references(pool))
        mean = training.values.mean(1)[embedding_positions(training, 10)]
        assert (np.diff(mean) >= 0).all()
        assert mean[-1] - mean[0] == pytest.approx(np.ptp(training.values.mean(1)))

    def test_given_ones_are_taken(self, pool: FloatArray) -> None:
        rows = TrainingRows.of([5, 9, 2, 7])
        training = TrainingDevices.of(standardised(pool), references(pool, rows))
        np.testing.assert_array_equal(embedding_positions(training, 2, np.array([7, 5])), [3, 0])

    def test_one_that_was_not_measured_is_an_error(self, pool: FloatArray) -> None:
        rows = TrainingRows.of([5, 9, 2, 7])
        training = TrainingDevices.of(standardised(pool), references(pool, rows))
        with pytest.raises(ValueError, match="every embedding network must be a training network"):
            embedding_positions(training, 2, np.array([7, 8]))

    def test_a_measured_one_counts_and_another_is_filled_in(self, pool: FloatArray) -> None:
        model, x = (
            multi(pool, replace(QUICK, embedding="sample", embedding_size=10)),
            standardised(pool),
        )
        networks = model.training.features[model.embedding_networks]
        there = networks[:1]
        known = np.linspace(0, 1, 10)
        low, high = (embedding_values(networks, known, there, np.array([v])) for v in (-9.0, 9.0))
        assert low[0] == 0
        assert high[0] == 1
        away = np.flatnonzero((x[:, None] != networks).any(2).all(1))[:1]
        filled = embedding_values(networks, known, x[away], np.array([9.0]))
        np.testing.assert_array_equal(filled, known)


class TestScale:
    """How a target's samples get values of a network's range."""

    def test_it_finds_level_and_spread(self) -> None:
        values = np.linspace(0.1, 0.9, 200)
        found = Scale(0.8, 0.5).matched(values, 3 + 2 * values)
        np.testing.assert_allclose(found.values(3 + 2 * values), values, atol=0.01)

    @pytest.mark.parametrize("levels", [[], [2.0], [2.0, 2.0, 2.0]])
    def test_without_spread_it_is_that_of_a_training_device(self, levels: list[float]) -> None:
        found = Scale(0.8, 0.5).matched(np.full(len(levels), 0.3), np.array(levels))
        assert found.span > 0
        if levels:
            assert found.levels(np.array([0.3]))[0] == pytest.approx(2.0)


class TestSpaceTransfer:
    """Equation 3 and figure 7."""

    def test_it_beats_learning_from_scratch(self, pool: FloatArray) -> None:
        latency_s = references(pool).latency_s @ [0.2, 0.3, 0.5]
        x, rows = hwl(pool), [3, 50, 100, 150]
        trained, scratch = (
            metrics.spearman(transfer(pool, n)(x[rows], np.log(latency_s[rows]))(x), latency_s)
            for n in (40, 0)
        )
        assert trained is not None
        assert scratch is not None
        assert trained > 0.97
        assert trained > scratch + 0.05


def test_training_leaves_the_callers_random_state_and_threads() -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    with repeatable(3) as generator:
        weight = torch.nn.Parameter(torch.randn(3))
        train([weight], lambda _: (weight**2).sum(), 4, Schedule(2, 0.1, 0.0), generator)
    torch.testing.assert_close(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_training_visits_every_row_once_an_epoch() -> None:
    seen: list[list[int]] = []

    def loss(rows: torch.Tensor) -> torch.Tensor:
        seen.append(rows.tolist())
        return (weight**2).sum()

    with repeatable(0) as generator:
        weight = torch.nn.Parameter(torch.ones(1))
        train([weight], loss, 5, Schedule(2, 0.1, 0.0, batch=2), generator)
    assert [len(rows) for rows in seen] == [2, 2, 1, 2, 2, 1]
    for epoch in (seen[:3], seen[3:]):
        assert sorted(row for rows in epoch for row in rows) == [0, 1, 2, 3, 4]
