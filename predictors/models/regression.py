"""Regressions on an encoding, as rules of `predictors.models.plain`: ridge, forest, boosted trees.

Hyper-parameters are the customary ones for small data and were not tuned on any device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farm.core.extras import of_extra
from predictors import FloatArray
from predictors.models.plain import Fitted

PENALTIES = np.logspace(-4, 2, 13)

TREES = 40
ROUNDS, DEPTH, RATE = 60, 3, 0.15


@dataclass(frozen=True, eq=False)
class Ridge:
    """Ridge regression, its penalty by leave-one-out error (Golub, Heath & Wahba 1979).

    Features are expected to be standardised.
    """

    def __call__(self, x: FloatArray, log_s: FloatArray) -> Fitted:
        kernel, centre = x @ x.T / x.shape[1], float(log_s.mean())
        solved = []
        for penalty in PENALTIES:
            inverse = np.linalg.inv(kernel + penalty * np.eye(len(x)))
            alone = inverse @ (log_s - centre)
            solved.append((float(((alone / np.diag(inverse)) ** 2).sum()), alone))
        weights = x.T @ min(solved, key=lambda pair: pair[0])[1] / x.shape[1]
        return lambda new: new @ weights + centre


@dataclass(frozen=True, eq=False)
class RandomForest:
    """Breiman, Random Forests, 2001, by scikit-learn."""

    seed: int = 0

    def __call__(self, x: FloatArray, log_s: FloatArray) -> Fitted:
        with of_extra("baselines"):
            from sklearn.ensemble import RandomForestRegressor

        centre = float(log_s.mean())
        forest = RandomForestRegressor(TREES, max_features=1 / 3, random_state=self.seed)
        # Rounded, so that no unit decides between splits that are equally good.
        predict = forest.fit(x, np.round(log_s - centre, 9)).predict
        return lambda new: centre + (predict(new) if len(new) else np.empty(0))


@dataclass(frozen=True, eq=False)
class BoostedTrees:
    """Chen & Guestrin, XGBoost: A Scalable Tree Boosting System, KDD 2016, by xgboost."""

    seed: int = 0

    def __call__(self, x: FloatArray, log_s: FloatArray) -> Fitted:
        with of_extra("baselines"):
            import xgboost

        centre = float(log_s.mean())
        options = {
            "max_depth": DEPTH,
            "eta": RATE,
            "nthread": 1,
            "seed": self.seed,
            "base_score": 0.0,
        }
        train = xgboost.DMatrix(x, log_s - centre, nthread=1)
        booster = xgboost.train(options, train, ROUNDS)
        return lambda new: centre + np.asarray(booster.inplace_predict(new), np.float64)
