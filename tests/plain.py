"""Plain predictors as their tests use them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from predictors import FloatArray, Predictor
from predictors.encodings.normalisation import Standardisation, TrainingRows
from predictors.models.accuracy_mixture import Mixture
from predictors.models.plain import LookupTable, NearestColumn, PlainModel, Rule
from predictors.models.regression import BoostedTrees, RandomForest, Ridge

SIZE = 4
"""Column of the made-up pool that grows with a network's work."""


def standardised(pool: FloatArray) -> FloatArray:
    return Standardisation.fit(pool, TrainingRows.every(pool)).apply(pool)


def nearest(pool: FloatArray) -> tuple[Predictor, FloatArray]:
    """Known devices that favour one count each; the third is like the tested ones."""
    known = 1e-9 * pool[:, [SIZE]] * [0.0, 0.1, 1.0] + 1e-3 * pool[:, [0, 1, 2]]
    return columns(known, pool)


def by_flops(pool: FloatArray) -> tuple[Predictor, FloatArray]:
    return columns(pool[:, [SIZE]], pool)


def columns(known: FloatArray, pool: FloatArray) -> tuple[Predictor, FloatArray]:
    features = np.column_stack([known, pool])
    return PlainModel.over(NearestColumn(known.shape[1]), features), features


def lookup(pool: FloatArray) -> tuple[Predictor, FloatArray]:
    """Counts are the layers."""
    return PlainModel.over(LookupTable(), pool[:, :SIZE]), pool[:, :SIZE]


def regression(rule: Rule) -> Callable[[FloatArray], tuple[Predictor, FloatArray]]:
    def subject(pool: FloatArray) -> tuple[Predictor, FloatArray]:
        features = np.ascontiguousarray(standardised(pool))
        return PlainModel.over(rule, features), features

    return subject


def of_any_sign(pool: FloatArray) -> tuple[Predictor, FloatArray]:
    """The mixture as accuracies take it: no known task, the pool as proxies."""
    features = standardised(pool)
    mixture = Mixture.over(features[:, :0], features, features)
    return PlainModel.over(mixture, mixture.features), mixture.features


PLAIN: dict[str, Callable[[FloatArray], tuple[Predictor, FloatArray]]] = {
    "flops": by_flops,
    "nearest": nearest,
    "lookup": lookup,
    "mixture_of_any_sign": of_any_sign,
    "ridge": regression(Ridge()),
    "forest": regression(RandomForest()),
    "xgboost": regression(BoostedTrees()),
}
