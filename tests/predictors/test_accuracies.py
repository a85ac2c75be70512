"""Models of values of any sign: networks from scratch and transferred, and the mixture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from predictors import FloatArray, metrics
from predictors.encodings.zcp import masked
from predictors.models.accuracies import FromScratch, Transferred
from predictors.models.accuracy_mixture import Mixture
from predictors.models.multi_predict import TRANSFER_PRETRAINING, TransferSettings
from predictors.models.plain import Rule

QUICK = TransferSettings(width=16, pretraining=replace(TRANSFER_PRETRAINING, epochs=60))

RNG = np.random.default_rng(3)
X = RNG.normal(size=(120, 3))
LIKE = 2 * X[:, 0] - X[:, 1]
ACCURACY = -1.0 + 0.1 * np.tanh(LIKE)
"""Negative and bounded, as a loss is."""


def rules() -> dict[str, tuple[Rule, FloatArray]]:
    mixture = Mixture.over(X[:, :0], X, X)
    return {
        "scratch": (FromScratch(QUICK), X),
        "transfer": (Transferred.pretrained(X, LIKE, QUICK), X),
        "mixture": (mixture, mixture.features),
    }


@pytest.mark.parametrize("name", ["scratch", "transfer", "mixture"])
class TestEachRule:
    def test_values_may_be_negative(self, name: str) -> None:
        rule, x = rules()[name]
        found = rule(x[:30], ACCURACY[:30])(x[30:])
        assert (metrics.spearman(found, ACCURACY[30:]) or 0) > 0.9
        assert np.abs(found - ACCURACY[30:]).mean() < 0.05

    def test_a_shift_and_a_stretch_do_the_same_to_predictions(self, name: str) -> None:
        rule, x = rules()[name]
        there = rule(x[:10], ACCURACY[:10])(x)
        moved = rule(x[:10], 100 * ACCURACY[:10] + 7)(x)
        np.testing.assert_allclose(moved, 100 * there + 7, rtol=1e-5)

    def test_equal_values_are_no_trouble(self, name: str) -> None:
        rule, x = rules()[name]
        found = rule(x[:6], np.full(6, -0.5))(x)
        assert np.isfinite(found).all()
        assert found[:6].mean() == pytest.approx(-0.5, abs=0.1)


def test_what_another_task_taught_is_kept() -> None:
    few, model = [0, 1, 2], Transferred.pretrained(X, LIKE, QUICK)
    before = model.known(X)
    assert (metrics.spearman(model(X[few], ACCURACY[few])(X), ACCURACY) or 0) > 0.9
    np.testing.assert_array_equal(model.known(X), before)


def test_a_network_that_learnt_nothing_does_not_bend_the_mixture() -> None:
    rule, x = rules()["mixture"]
    spoilt = ACCURACY[:20].copy()
    spoilt[int(np.argmin(spoilt))] = -50.0
    assert (metrics.spearman(rule(x[:20], spoilt)(x[20:]), ACCURACY[20:]) or 0) > 0.8


def test_a_missing_proxy_is_the_mean_and_says_so() -> None:
    values = np.array([[1.0, np.nan, 5.0], [2.0, np.nan, 5.0], [np.nan, np.nan, 5.0]])
    found = masked(values)
    assert found.shape == (3, 6)
    np.testing.assert_allclose(found[:, 0], [-1, 1, 0])
    np.testing.assert_array_equal(found[:, 1:3], 0)
    np.testing.assert_array_equal(found[:, 3:], [[0, -1, 0], [0, -1, 0], [-1, -1, 0]])
