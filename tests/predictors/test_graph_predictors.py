"""BRP-NAS and NASFLAT: what they learn, and the loss that ranks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from predictors import FloatArray, metrics
from predictors.encodings.normalisation import TrainingRows
from predictors.models.devices import Scale
from predictors.models.nasflat import MARGIN, Nasflat, fitted_line, ranking_loss
from predictors.models.plain import Rule
from tests.neural import (
    QUICK_NASFLAT,
    chain,
    flat,
    graph_alone,
    operations,
    references,
    standardised,
)


def rho(model: Rule, x: FloatArray, latency_s: FloatArray, rows: list[int]) -> float:
    found = metrics.spearman(model(x[rows], np.log(latency_s[rows]))(x), latency_s)
    assert found is not None
    return found


class TestBrpNas:
    """It knows the target's samples alone, and needs many."""

    @pytest.mark.slow
    def test_more_samples_teach_more(self, pool: FloatArray) -> None:
        x, latency_s = operations(pool), references(pool).latency_s[:, 1]
        few, many = (rho(graph_alone(pool), x, latency_s, list(range(n))) for n in (5, 60))
        assert many > 0.97
        assert many > few + 0.1


class TestNasflat:
    """Operation-wise hardware embeddings."""

    @pytest.mark.slow
    @pytest.mark.parametrize("device", [0, 2])
    def test_a_device_like_a_known_one_needs_five_samples(
        self, pool: FloatArray, device: int
    ) -> None:
        latency_s = 7 * references(pool).latency_s[:, device]
        assert rho(flat(pool), operations(pool), latency_s, [0, 1, 2, 3, 4]) > 0.97

    @pytest.mark.slow
    def test_fine_tuning_leaves_the_pretrained_network_alone(self, pool: FloatArray) -> None:
        model = flat(pool)
        before = {name: value.clone() for name, value in model.network.state_dict().items()}
        rho(model, operations(pool), references(pool).latency_s[:, 0], [0, 1, 2])
        for name, value in model.network.state_dict().items():
            torch.testing.assert_close(value, before[name], rtol=0, atol=0)

    def test_it_learns_from_training_rows_alone(self, pool: FloatArray) -> None:
        rows, x = TrainingRows.of(range(100)), operations(pool)
        known = references(pool, rows)
        late = np.arange(200)[:, None] >= 100
        changed = replace(known, latency_s=np.where(late, 9, known.latency_s))
        few = replace(QUICK_NASFLAT, pretraining=replace(QUICK_NASFLAT.pretraining, epochs=2))
        a, b = (Nasflat.pretrained(x, r, chain(pool), few) for r in (known, changed))
        log_s = np.log(known.latency_s[:6, 0])
        np.testing.assert_array_equal(a(x[:6], log_s)(x), b(x[:6], log_s)(x))

    @pytest.mark.slow
    def test_another_encoding_joins(self, pool: FloatArray) -> None:
        """Operations that say nothing, beside a column that says all."""
        constant = np.broadcast_to(operations(pool)[:1], operations(pool).shape)
        x = np.column_stack([constant, standardised(pool)])
        model = Nasflat.pretrained(x, references(pool), chain(pool), QUICK_NASFLAT)
        assert rho(model, x, references(pool).latency_s[:, 0], [0, 1, 2, 3, 4]) > 0.9


class TestRankingLoss:
    """Pairs, by a margin."""

    @staticmethod
    def loss(scores: list[float], values: list[float]) -> float:
        generator = torch.Generator().manual_seed(0)
        return float(ranking_loss(torch.tensor(scores), torch.tensor(values), generator))

    def test_well_apart_costs_nothing(self) -> None:
        assert self.loss([0.0, 0.2, 0.4], [1.0, 2.0, 3.0]) == 0

    def test_the_wrong_order_costs_its_distance_and_the_margin(self) -> None:
        assert self.loss([0.3, 0.0], [1.0, 2.0]) == pytest.approx(0.3 + MARGIN)

    def test_equal_latencies_are_not_ranked(self) -> None:
        assert self.loss([0.3, 0.0], [1.0, 1.0]) == 0

    def test_one_entry_is_no_pair(self) -> None:
        assert self.loss([0.3], [1.0]) == 0


class TestLine:
    """From scores to latencies."""

    def test_it_goes_through_the_samples(self) -> None:
        scores = np.linspace(-3, 3, 50)
        found = fitted_line(Scale(1, 0.1), scores, 2 + 0.3 * scores)
        np.testing.assert_allclose(found.levels(scores), 2 + 0.3 * scores, atol=0.02)

    def test_it_rises_even_where_the_samples_fall(self) -> None:
        scores = np.linspace(-3, 3, 50)
        assert fitted_line(Scale(1, 0.1), scores, 2 - 0.3 * scores).span > 0

    def test_one_sample_sets_the_level(self) -> None:
        found = fitted_line(Scale(1, 0.1), np.array([2.0]), np.array([6.0]))
        assert found.levels(np.array([2.0]))[0] == pytest.approx(6.0)
        assert found.span == pytest.approx(0.5)
