"""Plain predictors as their tests use them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from predictors import FloatArray, Predictor
from predictors.encodings.normalisation import Standardisation, TrainingRows
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


PLAIN: dict[str, Callable[[FloatArray], tuple[Predictor, FloatArray]]] = {
    "flops": by_flops,
    "nearest": nearest,
    "lookup": lookup,
    "ridge": regression(Ridge()),
    "forest": regression(RandomForest()),
    "xgboost": regression(BoostedTrees()),
}
